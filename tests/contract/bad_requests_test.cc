// Sends what any client that reaches the port can send: every RPC of the proto files with damaged bytes, bytes that are
// not gRPC at all, control characters, sizes beyond all limits. The coordinator answers each with an error and goes on.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "tests/contract/generic_call.h"
#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> AllMethods() {
  std::vector<std::string> methods;
  for (const char* name : {"JobService", "ClusterService", "WorkerService"}) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(std::string("regroup.v1.") + name);
    for (int i = 0; i < service->method_count(); ++i) {
      methods.push_back(std::string("/regroup.v1.") + name + "/" + service->method(i)->name());
    }
  }
  return methods;
}

/// Returns a request of random fields: known ones with wrong types and lengths, and unknown ones.
std::string RandomBytes(std::mt19937_64& random, const std::string& good) {
  std::string bytes = good;
  for (int times = 0; times < 8; ++times) {
    const size_t at = random() % (bytes.size() + 1);
    if (random() % 2 == 0) {
      bytes.insert(at, 1 + random() % 16, static_cast<char>(random()));
    } else if (at < bytes.size()) {
      bytes[at] = static_cast<char>(random());
    }
  }
  return bytes;
}

class BadRequestsTest : public CoordinatorTest {
 protected:
  void ExpectAlive() {
    v1::ServerInfo info;
    const absl::Status status = Call(cluster_, &v1::ClusterService::StubInterface::GetServerInfo, {}, &info);
    EXPECT_TRUE(status.ok()) << status;
  }

  int ConnectRaw() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(coordinator_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  void SendRaw(const std::string& bytes) {
    const int fd = ConnectRaw();
    // The other side may close the connection in between.
    [[maybe_unused]] const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    char reply[4096];
    while (recv(fd, reply, sizeof reply, 0) > 0) {
    }
    close(fd);
  }
};

TEST_F(BadRequestsTest, DamagedBytesInEveryRpcAreAnsweredAndNothingBreaks) {
  ASSERT_TRUE(Submit(Request("a-job")).ok());
  const auto channel = OpenChannel(coordinator_->address()).value();
  std::mt19937_64 random(20261123);
  const std::string good = Request("a-job").SerializeAsString();
  for (const std::string& method : AllMethods()) {
    for (int i = 0; i < 20; ++i) {
      const std::string bytes = RandomBytes(random, i % 2 == 0 ? good : "");
      const absl::Status status = GenericCallWithBytes(channel, method, bytes, "", std::chrono::milliseconds(300));
      EXPECT_NE(status.code(), absl::StatusCode::kUnavailable) << method << ": " << status;
    }
  }
  ExpectAlive();
  EXPECT_TRUE(Get("jobs/a-job").ok());
}

TEST_F(BadRequestsTest, BytesThatAreNoGrpcDisturbNobody) {
  std::mt19937_64 random(7);
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  SendRaw("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  SendRaw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
  for (int i = 0; i < 200; ++i) {
    std::string junk(1 + random() % 2000, '\0');
    for (char& byte : junk) byte = static_cast<char>(random());
    SendRaw(i % 2 == 0 ? preface + junk : junk);
  }
  ExpectAlive();
}

TEST_F(BadRequestsTest, ConnectionsThatSayNothingKeepNobodyOut) {
  std::vector<int> silent;
  for (int i = 0; i < 300; ++i) silent.push_back(ConnectRaw());
  ExpectAlive();
  for (const int fd : silent) close(fd);
}

TEST_F(BadRequestsTest, AnOversizedRequestIsRefused) {
  for (const size_t bytes : {size_t{1} << 20, size_t{17} << 20}) {
    v1::SubmitJobRequest request = Request("large");
    request.mutable_spec()->set_name(std::string(bytes, 'x'));
    EXPECT_EQ(Submit(request).status().code(), absl::StatusCode::kResourceExhausted);
  }
  ExpectAlive();
}

TEST_F(BadRequestsTest, ARequestJustWithinTheLimitGetsAnAnswerThatArrives) {
  v1::SubmitJobRequest request = Request("large");
  request.mutable_spec()->set_name(std::string(1'000'000, 'x'));
  EXPECT_EQ(Submit(request).status().code(), absl::StatusCode::kInvalidArgument);
  request = Request("large");
  for (int i = 0; i < 1000; ++i) request.mutable_spec()->mutable_evaluation()->add_multiple_choice();
  const absl::Status refused = Submit(request).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(refused), v1::INVALID_FIELD);
}

TEST_F(BadRequestsTest, ARequestWithTooManyEntriesIsRefusedWithTheField) {
  v1::SubmitJobRequest request = Request("large");
  for (int i = 0; i < 200'000; ++i) request.mutable_spec()->mutable_evaluation()->add_multiple_choice();
  const absl::Status refused = Submit(request).status();
  EXPECT_EQ(ReasonOf(refused), v1::INVALID_FIELD);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("spec.evaluation.multiple_choice: has more than 1024 entries"));
  v1::ListJobsRequest list;
  for (int i = 0; i < 17; ++i) (*list.mutable_labels())["label-" + std::to_string(i)] = "x";
  v1::ListJobsResponse listed;
  EXPECT_THAT(std::string(Call(jobs_, &v1::JobService::StubInterface::ListJobs, list, &listed).message()),
              HasSubstr("labels: has 17 labels; a job has at most 16"));
}

TEST_F(BadRequestsTest, ControlsInTextsAreRefusedWithTheField) {
  for (const std::string& control :
       {std::string("\r\n"), std::string(1, '\0'), std::string("\x1b[2J"), std::string("\x7f")}) {
    v1::SubmitJobRequest request = Request("controls");
    request.set_request_id("a" + control + "b");
    EXPECT_THAT(std::string(Submit(request).status().message()), HasSubstr("request_id"));
    request = Request("con" + control);
    EXPECT_THAT(std::string(Submit(request).status().message()), HasSubstr("job_id"));
    request = Request("controls");
    request.mutable_spec()->set_name("x" + control);
    EXPECT_THAT(std::string(Submit(request).status().message()), HasSubstr("name"));
    request = Request("controls");
    (*request.mutable_spec()->mutable_labels())["team"] = control;
    EXPECT_THAT(std::string(Submit(request).status().message()), HasSubstr("labels.team"));
    EXPECT_EQ(Get("jobs/a" + control).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Register(FakeWorker{"w" + control}).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(Get("jobs/controls").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BadRequestsTest, PathsThatLeadElsewhereAreRefused) {
  for (const std::string& path : {std::string("/data/../etc/passwd"), std::string("../etc"), std::string("/a\0b", 4),
                                  "/" + std::string(5000, 'x'), std::string("/a\nb")}) {
    v1::SubmitJobRequest request = Request("paths");
    request.mutable_spec()->mutable_output()->set_checkpoint(path);
    EXPECT_THAT(std::string(Submit(request).status().message()), HasSubstr("output.checkpoint")) << path.substr(0, 40);
  }
}

TEST_F(BadRequestsTest, TimesBeyondAllCalendarsAreTaken) {
  ASSERT_TRUE(Submit(Request("a-job")).ok());
  v1::StreamLogsRequest request;
  request.set_name("jobs/a-job");
  for (const int64_t seconds : {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()}) {
    request.mutable_since()->set_seconds(seconds);
    ReadAll<v1::LogEntry>([&](grpc::ClientContext* context) { return jobs_->StreamLogs(context, request); });
  }
  ExpectAlive();
}

TEST_F(BadRequestsTest, LinesOfATaskWithControlsAreDroppedAndTheOthersKept) {
  ASSERT_TRUE(Submit(Request("a-job")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  for (const std::string& task : {std::string("in\0spect", 8), std::string("inspect")}) {
    v1::AttemptReport report;
    *report.mutable_attempt() = attempt;
    report.mutable_attempt()->set_task(task);
    report.add_logs()->set_message("of " + task);
    EXPECT_TRUE(Push(w1_, report).ok());
  }
  v1::StreamLogsRequest request;
  request.set_name("jobs/a-job");
  const auto lines =
      ReadAll<v1::LogEntry>([&](grpc::ClientContext* context) { return jobs_->StreamLogs(context, request); });
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].message(), "of inspect");
}

// services/common/rpc/server.h allows a thousand.
TEST_F(BadRequestsTest, OneConnectionCannotTakeMoreThanItsShareOfStreams) {
  ASSERT_TRUE(Submit(Request("a-job")).ok());
  const auto greedy = v1::JobService::NewStub(OpenChannel(coordinator_->address()).value());
  v1::WatchJobRequest request;
  request.set_name("jobs/a-job");
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::JobEvent>>> streams;
  for (int i = 0; i < 1000; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(greedy->WatchJob(contexts.back().get(), request));
  }
  v1::JobEvent event;
  for (const auto& stream : streams) ASSERT_TRUE(stream->Read(&event));

  const auto get = [&greedy](std::chrono::milliseconds patience) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience);
    v1::GetJobRequest get_request;
    get_request.set_name("jobs/a-job");
    v1::Job job;
    return greedy->GetJob(&context, get_request, &job).error_code();
  };
  EXPECT_EQ(get(std::chrono::milliseconds(500)), grpc::StatusCode::DEADLINE_EXCEEDED);
  ExpectAlive();
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& stream : streams) stream->Finish();
  EXPECT_EQ(get(std::chrono::seconds(60)), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace regroup
