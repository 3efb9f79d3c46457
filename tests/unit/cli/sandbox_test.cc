// What a process in the sandbox can and cannot do, tried by processes of their own.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/sandbox.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <initializer_list>
#include <thread>
#include <vector>

using namespace qimg::cli;

namespace {

// The errno of a call in a sandboxed child, 0 when it worked; -1 when the child did not come to an end.
int errno_of(const std::function<bool()>& works, std::initializer_list<MayOpen> stages = {MayOpen::to_read}) {
    const pid_t child = ::fork();
    if (child == 0) {
        for (const MayOpen files : stages)
            enter_sandbox(files);
        errno = 0;
        ::_exit(works() ? 0 : errno);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

// Elsewhere the commands go on without a sandbox.
bool has_filters() {
    return errno_of([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }) == EPERM;
}

}  // namespace

TEST_CASE("a sandboxed process has no network, starts no program and writes to no file" *
          doctest::skip(!has_filters())) {
    CHECK(errno_of([] { return ::socket(AF_INET, SOCK_STREAM, 0) >= 0; }) == EPERM);
    CHECK(errno_of([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }) == EPERM);
    CHECK(errno_of([] { return ::execl("/bin/true", "true", nullptr) == 0; }) == EPERM);
    CHECK(errno_of([] { return ::open("/dev/null", O_WRONLY) >= 0; }) == EPERM);
    CHECK(errno_of([] { return ::open("/dev/null", O_RDWR) >= 0; }) == EPERM);
    CHECK(errno_of([] { return ::open("/tmp/sandbox-test", O_RDONLY | O_CREAT, 0600) >= 0; }) == EPERM);
    CHECK(errno_of([] { return ::open("/tmp", O_TMPFILE | O_RDWR, 0600) >= 0; }) == EPERM);
    CHECK(errno_of([] { return ::unlink("/tmp/sandbox-test") == 0; }) == EPERM);
    CHECK(errno_of([] { return ::mkdir("/tmp/sandbox-test", 0700) == 0; }) == EPERM);
    CHECK(errno_of([] { return ::kill(::getppid(), 0) == 0; }) == EPERM);
}

TEST_CASE("a sandboxed process makes no memory executable" * doctest::skip(!has_filters())) {
    const auto map = [](int protection) {
        return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    };
    CHECK(errno_of([&] { return map(PROT_READ | PROT_EXEC) != MAP_FAILED; }) == EPERM);
    CHECK(errno_of([&] { return ::mprotect(map(PROT_READ), 4096, PROT_EXEC) == 0; }) == EPERM);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE("a sandboxed process has no children" * doctest::skip(!has_filters())) {
    CHECK(errno_of([] { return ::fork() >= 0; }) == EPERM);
}
#endif

TEST_CASE("a sandboxed process reads files, starts threads and allocates memory") {
    CHECK(errno_of([] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC | O_NONBLOCK) >= 0; }) == 0);
    CHECK(errno_of([] { return ::access("/dev/null", R_OK) == 0; }) == 0);
    CHECK(errno_of([] {
              bool ran = false;
              std::thread([&] { ran = true; }).join();
              return ran;
          }) == 0);
    CHECK(errno_of([] {
              std::vector<char> memory(100 << 20, 'x');
              return memory.back() == 'x';
          }) == 0);
}

TEST_CASE("a process that may open nothing reads what is open, at once and as a second stage" *
          doctest::skip(!has_filters())) {
    const auto opens = [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0; };
    CHECK(errno_of(opens, {MayOpen::nothing}) == EPERM);
    CHECK(errno_of(opens, {MayOpen::to_read, MayOpen::nothing}) == EPERM);

    const int zeroes = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    const auto reads = [&] {
        char byte = 1;
        return ::pread(zeroes, &byte, 1, 0) == 1 && byte == 0;
    };
    CHECK(errno_of(reads, {MayOpen::nothing}) == 0);
    CHECK(errno_of(reads, {MayOpen::to_read, MayOpen::nothing}) == 0);
    ::close(zeroes);
}

TEST_CASE("a second stage gives nothing back" * doctest::skip(!has_filters())) {
    CHECK(errno_of([] { return ::open("/dev/null", O_RDONLY) >= 0; }, {MayOpen::nothing, MayOpen::to_read}) ==
          EPERM);
    CHECK(errno_of([] { return ::open("/dev/null", O_WRONLY) >= 0; }, {MayOpen::to_read, MayOpen::nothing}) ==
          EPERM);
    CHECK(errno_of([] { return ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0; },
                   {MayOpen::to_read, MayOpen::nothing}) == EPERM);
}
