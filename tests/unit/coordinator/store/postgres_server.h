// A PostgreSQL server for one test program: in a temporary folder, on a unix socket, gone when the program ends for any
// reason. If started as root it runs as nobody, since PostgreSQL refuses root.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace regroup {

class PostgresServer {
 public:
  /// Returns the program's only server, started by the first call. Ends the program if PostgreSQL is not installed.
  static PostgresServer& Get();
  ~PostgresServer();

  /// Creates an empty database and returns its URL.
  std::string MakeDatabase(const std::string& options = "");
  /// Returns the path of the socket on which the server listens.
  std::filesystem::path socket() const { return folder_ / ".s.PGSQL.5432"; }
  /// Returns the URL of the same database over TCP, for a port that forwards to the server.
  static std::string UrlByPort(const std::string& url, int port);

 private:
  PostgresServer();
  std::string Url(const std::string& database) const;
  pid_t Start(const std::vector<std::string>& arguments) const;

  std::filesystem::path folder_;
  pid_t server_ = 0;
  int databases_ = 0;
};

/// Runs statements on a separate connection; fails the test if they fail.
void RunSql(const std::string& url, const std::string& sql);

}  // namespace regroup
