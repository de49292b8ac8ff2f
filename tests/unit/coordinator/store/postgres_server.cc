#include "tests/unit/coordinator/store/postgres_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "coordinator/store/postgres.h"

namespace regroup {
namespace {

constexpr uid_t kNobody = 65534;

std::filesystem::path Programs() {
  std::filesystem::path newest;
  const std::filesystem::path versions = "/usr/lib/postgresql";
  if (std::filesystem::exists(versions)) {
    for (const auto& entry : std::filesystem::directory_iterator(versions)) newest = std::max(newest, entry.path());
  }
  return newest / "bin";
}

[[noreturn]] void GiveUp(const std::string& why) {
  fmt::print(stderr, "{}\n", why);
  std::exit(1);
}

bool Succeeds(pid_t process) {
  int status = 0;
  return waitpid(process, &status, 0) == process && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

PostgresServer& PostgresServer::Get() {
  static PostgresServer server;
  return server;
}

PostgresServer::PostgresServer() {
  std::string pattern = "/tmp/postgres_XXXXXX";
  folder_ = mkdtemp(pattern.data());
  if (geteuid() == 0 && chown(folder_.c_str(), kNobody, kNobody) != 0) GiveUp("cannot give a folder to nobody");
  const std::string data = folder_ / "data";
  if (!Succeeds(Start({"initdb", "--pgdata=" + data, "--username=regroup", "--auth=trust", "--encoding=UTF8",
                       "--locale=C", "--no-sync"}))) {
    GiveUp(fmt::format("initdb failed, see {}/log; is it installed? apt-get install postgresql", folder_.string()));
  }
  server_ = Start({"postgres", "-D", data, "-c", "listen_addresses=", "-c",
                   "unix_socket_directories=" + folder_.string(), "-c", "fsync=off"});
  for (int attempt = 0; attempt < 300; ++attempt) {
    if (PostgresConnection::Open({.url = Url("postgres")}).ok()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  GiveUp(fmt::format("PostgreSQL does not start, see {}/log", folder_.string()));
}

PostgresServer::~PostgresServer() {
  kill(server_, SIGQUIT);
  waitpid(server_, nullptr, 0);
  std::filesystem::remove_all(folder_);
}

pid_t PostgresServer::Start(const std::vector<std::string>& arguments) const {
  const std::string program = Programs() / arguments.front();
  const std::string log = folder_ / "log";
  std::vector<char*> raw;
  for (const std::string& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(1);
  // Set after the change of the user, which would reset it.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  if (chdir("/") == 0) execv(program.c_str(), raw.data());
  _exit(127);
}

std::string PostgresServer::Url(const std::string& database) const {
  return fmt::format("postgresql:///{}?host={}&user=regroup", database, folder_.string());
}

std::string PostgresServer::MakeDatabase(const std::string& options) {
  const std::string name = fmt::format("test{}", ++databases_);
  RunSql(Url("postgres"), fmt::format("CREATE DATABASE {} {}", name, options));
  return Url(name);
}

std::string PostgresServer::UrlByPort(const std::string& url, int port) {
  const std::string database = url.substr(0, url.find('?'));
  return fmt::format("{}?host=127.0.0.1&port={}&user=regroup&sslmode=disable", database, port);
}

void RunSql(const std::string& url, const std::string& sql) {
  const auto connection = PostgresConnection::Open({.url = url});
  ASSERT_TRUE(connection.ok()) << connection.status();
  const absl::Status status = (*connection)->Execute(sql);
  ASSERT_TRUE(status.ok()) << status;
}

}  // namespace regroup
