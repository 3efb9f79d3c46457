// What a guest's console and its domain's state say of it. The domains are those of libvirt's test driver, which
// run nothing; the test writes their consoles.
// SPDX-License-Identifier: Apache-2.0
#include "vm/guest_watch.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "vm/boot.hpp"

using namespace qimg;
using namespace qimg::vm;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

// libvirt's numbers of a domain's states
constexpr int running = 1;
constexpr int paused = 3;

class Quiet final : public Observer {
  public:
    void stage(Stage /*reached*/, const std::string& /*detail*/) override {}
    void warning(const std::string& /*message*/) override {}
    void waiting(std::chrono::milliseconds since_start, const std::string& /*line*/) override {
        if (meanwhile) meanwhile(since_start);
    }
    void console_tail(const std::vector<std::string>& /*lines*/) override {}
    bool cancelled() const override { return false; }

    std::function<void(std::chrono::milliseconds)> meanwhile;
};

// A test driver of its own, with one domain in a state that nobody asked for.
struct Bench {
    fs::path root;
    Quiet observer;
    std::optional<Hypervisor> hypervisor;
    std::optional<Domain> domain;
    std::optional<GuestWatch> watch;

    explicit Bench(int state = running) {
        std::string pattern = fs::temp_directory_path() / "watch.XXXXXX";
        root = ::mkdtemp(pattern.data());
        std::ofstream(root / "node.xml")
            << "<node xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><domain "
               "type='test'><name>guest</name>"
            << "<memory>65536</memory><os><type>hvm</type></os><test:runstate>" << state
            << "</test:runstate></domain></node>";
        auto connected = Hypervisor::connect("test://" + (root / "node.xml").string());
        REQUIRE(connected);
        hypervisor.emplace(std::move(*connected));
        auto found = hypervisor->find_by_name("guest");
        REQUIRE((found && *found));
        domain.emplace(std::move(**found));
        watch.emplace(*hypervisor, *domain, log(), observer);
    }
    ~Bench() { fs::remove_all(root); }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    std::string log() const { return root / "console.log"; }
    void print(const std::string& text) const { std::ofstream(log(), std::ios::app) << text; }
    Verdict run(WatchOptions options) {
        const auto verdict = watch->run(options);
        REQUIRE(verdict);
        return *verdict;
    }
};

WatchOptions in_doubt(Until until) {
    return {
        .until = until,
        .timeout = 3s,
        .doubtful_kvm = true,
        .patience = {.at_start = 300ms, .before_kernel = 700ms, .until_kernel = 2s, .before_user_space = {}}};
}

}  // namespace

TEST_CASE("a guest that prints nothing under doubtful KVM hangs; elsewhere it may take its time") {
    CHECK(Bench().run(in_doubt(Until::ready)) == Verdict::silent);
    WatchOptions trusted = in_doubt(Until::ready);
    trusted.doubtful_kvm = false;
    trusted.timeout = 1s;
    CHECK(Bench().run(trusted) == Verdict::timed_out);
}

TEST_CASE("a boot loader's text is no proof of a kernel, whatever is waited for") {
    for (const Until until : {Until::console, Until::ready, Until::off}) {
        Bench bench;
        bench.print("GRUB loading.\r\nBooting `Debian GNU/Linux'\r\n");
        CHECK(bench.run(in_doubt(until)) == Verdict::silent);
        CHECK(bench.watch->reached() == Stage::console);
    }
}

TEST_CASE("a guest that starts over and over is never silent, and hangs all the same") {
    Bench bench;
    bench.observer.meanwhile = [&](auto) { bench.print("GRUB loading.\r\n"); };
    const auto start = std::chrono::steady_clock::now();
    CHECK(bench.run(in_doubt(Until::ready)) == Verdict::silent);
    CHECK(std::chrono::steady_clock::now() - start >= 2s);
}

TEST_CASE("a kernel that speaks is enough for who does not wait for more") {
    Bench bench;
    bench.print("[    0.000000] Linux version 6.1.0\r\n");
    CHECK(bench.run(in_doubt(Until::console)) == Verdict::reached);
}

TEST_CASE("a kernel that falls silent before its first process hangs only where that may be tried again") {
    const std::string kernel = "[    0.000000] Linux version 6.1.0\r\n";
    WatchOptions options = in_doubt(Until::ready);
    options.timeout = 1200ms;
    {
        Bench bench;
        bench.print(kernel);
        CHECK(bench.run(options) == Verdict::timed_out);
    }
    options.patience.before_user_space = 500ms;
    {
        Bench bench;
        bench.print(kernel);
        CHECK(bench.run(options) == Verdict::silent);
    }
    {
        Bench bench;
        bench.print(kernel + "[  OK  ] Started a service.\r\n");
        CHECK(bench.run(options) == Verdict::timed_out);
    }
}

TEST_CASE("a guest that QEMU paused for no reason that libvirt knows has failed") {
    Bench bench(paused);
    CHECK(bench.run(in_doubt(Until::ready)) == Verdict::failed);
    CHECK(bench.watch->failure() == Failure::stopped);
    CHECK(bench.watch->state() == "paused (unknown)");
}

TEST_CASE("a guest that a user paused has not failed") {
    Bench bench;
    REQUIRE(virDomainSuspend(bench.domain->handle()) == 0);
    WatchOptions options = in_doubt(Until::ready);
    options.doubtful_kvm = false;
    options.timeout = 500ms;
    CHECK(bench.run(options) == Verdict::timed_out);
}

TEST_CASE("a panic is a failure of its own") {
    Bench bench;
    bench.print("[    1.000000] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n");
    CHECK(bench.run(in_doubt(Until::ready)) == Verdict::failed);
    CHECK(bench.watch->failure() == Failure::panic);
}

TEST_CASE("the end of a domain's last run is not that of this one") {
    Bench bench;
    const std::string xml =
        "<domain type='test'><name>again</name><uuid>9e2f2b41-0b41-4c1c-9a4c-2f3f3f0a6a01</uuid>"
        "<memory>65536</memory><os><type>hvm</type></os></domain>";
    REQUIRE(bench.hypervisor->start("again", xml)->destroy());
    const auto domain = bench.hypervisor->start("again", xml);
    REQUIRE(domain);
    GuestWatch watch(*bench.hypervisor, *domain, bench.log(), bench.observer);
    WatchOptions options = in_doubt(Until::ready);
    options.doubtful_kvm = false;
    options.timeout = 700ms;
    CHECK(watch.run(options).value() == Verdict::timed_out);
    REQUIRE(domain->destroy());
    CHECK(watch.run(options).value() == Verdict::destroyed);
}

TEST_CASE("KVM is blamed for what only KVM can do, and for the rest while it is in doubt") {
    for (const bool doubtful : {false, true}) {
        CHECK(is_kvms_fault(Verdict::failed, Failure::stopped, doubtful));
        CHECK(is_kvms_fault(Verdict::failed, Failure::ended, doubtful) == doubtful);
        CHECK(is_kvms_fault(Verdict::failed, Failure::panic, doubtful) == doubtful);
        CHECK_FALSE(is_kvms_fault(Verdict::failed, Failure::disk, doubtful));
        for (const Verdict verdict : {Verdict::reached, Verdict::unreadable, Verdict::guest_off,
                                      Verdict::destroyed, Verdict::timed_out, Verdict::interrupted}) {
            CHECK_FALSE(is_kvms_fault(verdict, Failure::none, doubtful));
        }
    }
    CHECK(is_kvms_fault(Verdict::silent, Failure::none, true));
}
