// A PostgreSQL server of a test program's own: in a temporary folder, on a unix socket, gone with the program however
// that ends. Started as root it runs as nobody, since PostgreSQL refuses root.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace regroup {

class PostgresServer {
 public:
  /// The program's one server, started by the first call. Ends the program where there is no PostgreSQL.
  static PostgresServer& Get();
  ~PostgresServer();

  /// Makes an empty database and returns its URL.
  std::string MakeDatabase(const std::string& options = "");
  /// Where the server listens.
  std::filesystem::path socket() const { return folder_ / ".s.PGSQL.5432"; }
  /// The same database by TCP, for a port that passes on what it gets.
  static std::string UrlByPort(const std::string& url, int port);

 private:
  PostgresServer();
  std::string Url(const std::string& database) const;
  pid_t Start(const std::vector<std::string>& arguments) const;

  std::filesystem::path folder_;
  pid_t server_ = 0;
  int databases_ = 0;
};

/// Runs statements on a connection of their own; fails the test where they fail.
void RunSql(const std::string& url, const std::string& sql);

}  // namespace regroup
