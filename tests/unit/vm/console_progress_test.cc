// Boot stages as consoles show them.
// SPDX-License-Identifier: Apache-2.0
#include "vm/console_progress.hpp"

#include <doctest/doctest.h>

using namespace qimg::vm;

namespace {

ConsoleProgress after(std::string_view text) {
    ConsoleProgress progress;
    progress.feed(text);
    return progress;
}

}  // namespace

TEST_CASE("nothing but blanks and control sequences is no output") {
    CHECK(after("").stage() == Stage::started);
    CHECK(after("\r\n\x1b[2J\x1b[1;1H  \r\n").stage() == Stage::started);
    CHECK(after("GRUB loading.\r\n").stage() == Stage::console);
}

TEST_CASE("the kernel is known by its name or its time stamps") {
    CHECK(after("[    0.000000] Linux version 6.1.0\r\n").stage() == Stage::kernel);
    CHECK(after("[   12.345678] systemd[1]: Started\r\n").stage() == Stage::kernel);
    CHECK(after("[  OK  ] Started x\r\n").stage() == Stage::console);
    CHECK(after("[1234567.0] x\r\n").stage() == Stage::console);
}

TEST_CASE("user space is known by an init's first words, a login prompt or cloud-init") {
    for (const char* line :
         {"[    2.1] systemd[1]: Detected virtualization kvm.\r\n", "[  OK  ] Started x\r\n",
          "\r\nWelcome to \x1b[1mDebian GNU/Linux 12\x1b[0m!\r\n", "   OpenRC 0.48 is starting up\r\n",
          "\r\nweb login: ", "[   20.1] cloud-init[400]: Cloud-init v. 22.4.2 running 'init'\r\n"}) {
        CHECK(after(line).saw_user_space());
    }
    for (const char* line :
         {"GRUB loading.\r\nWelcome to GRUB!\r\n", "[    0.000000] Linux version 6.1.0\r\n",
          "[    2.000000] Run /init as init process\r\n"}) {
        CHECK_FALSE(after(line).saw_user_space());
    }
}

TEST_CASE("a login prompt is seen without a line end, in colours, cut anywhere") {
    const std::string_view text = "\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\n\x1b[1mweb\x1b[0m login: ";
    CHECK(after(text).saw_login());
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        ConsoleProgress progress;
        progress.feed(text.substr(0, cut));
        progress.feed(text.substr(cut));
        CHECK(progress.saw_login());
    }
}

TEST_CASE("a report of the last login, or prose, is no prompt") {
    CHECK_FALSE(after("Last login: Mon Nov 20\r\n").saw_login());
    CHECK_FALSE(after("see the login: page\r\n").saw_login());
    CHECK_FALSE(after(" login: x\r\n").saw_login());
}

TEST_CASE("cloud-init at work and cloud-init's end are two things") {
    ConsoleProgress progress = after("[   20.1] cloud-init[400]: Cloud-init v. 22.4.2 running 'init'\r\n");
    CHECK(progress.saw_cloud_init());
    CHECK_FALSE(progress.saw_cloud_init_end());
    progress.feed("[   99.1] cloud-init[600]: Cloud-init v. 22.4.2 finished at Mon, 20 Nov\r\n");
    CHECK(progress.saw_cloud_init_end());
    CHECK(progress.stage() == Stage::cloud_init);
}

TEST_CASE("a kernel panic is noticed") {
    CHECK(after("[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n").saw_panic());
}

TEST_CASE("lines for people hold no control characters") {
    ConsoleProgress progress = after(
        "a\x1b]0;title\x07"
        "b\x01"
        "c\r\n\r\nlast\xff\r\n");
    CHECK(progress.last_line() == "last\\xff");
    CHECK(progress.last_lines(5) == std::vector<std::string>{"abc", "last\\xff"});
    CHECK(progress.last_lines(1) == std::vector<std::string>{"last\\xff"});
}

TEST_CASE("a line without an end does not grow for ever") {
    ConsoleProgress progress;
    for (int i = 0; i < 100; ++i)
        progress.feed(std::string(1000, 'x'));
    CHECK(progress.last_line().size() <= 4096);
}
