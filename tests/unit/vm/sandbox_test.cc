// The life of a sandbox on libvirt's test driver: no daemon, no root, nothing boots.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "qimg/vm.hpp"
#include "vm/hypervisor.hpp"
#include "vm/sandbox_folder.hpp"

using namespace qimg;
using namespace qimg::vm;
namespace fs = std::filesystem;

namespace {

constexpr const char* test_driver = "test:///default";

class Recorder final : public Observer {
  public:
    void stage(Stage reached, const std::string& /*detail*/) override {
        stages.push_back(reached);
        if (cancel_at == reached) cancel = true;
    }
    void warning(const std::string& message) override { warnings.push_back(message); }
    void waiting(std::chrono::milliseconds /*since_start*/, const std::string& /*line*/) override {}
    void console_tail(const std::vector<std::string>& /*lines*/) override {}
    bool cancelled() const override { return cancel; }

    std::vector<Stage> stages;
    std::vector<std::string> warnings;
    std::optional<Stage> cancel_at;
    bool cancel = false;
};

// A folder for sandboxes, a base image, and a connection that keeps the test driver's domains alive.
struct Bench {
    fs::path root;
    Place place;
    Recorder observer;
    Result<Hypervisor> hypervisor = Hypervisor::connect(test_driver);

    Bench() {
        std::string pattern = fs::temp_directory_path() / "vmbox.XXXXXX";
        root = ::mkdtemp(pattern.data());
        std::ofstream(base()) << std::string(64 * KiB, 'b');
        place = {.connection = test_driver, .folder = root / "boxes"};
        REQUIRE(hypervisor);
    }
    ~Bench() { fs::remove_all(root); }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    fs::path base() const { return root / "base.img"; }
    fs::path box(const std::string& name) const { return root / "boxes" / name; }
    UpOptions options(const std::string& name) const {
        UpOptions options{.name = name, .place = place, .create = NewSandbox{}, .wait = {}};
        options.create->base = base();
        options.create->base_format = "raw";
        options.create->disk = SizeChange{SizeChange::Kind::grow, MiB};
        options.create->seed.password = "secret";
        options.wait.until = Until::started;
        return options;
    }
    Result<UpReport> make(const std::string& name) { return up(options(name), observer); }
    std::string state(const std::string& name) {
        const auto entries = list(place, observer);
        REQUIRE(entries);
        for (const Listed& entry : *entries) {
            if (entry.name == name) return entry.state;
        }
        return "not listed";
    }
};

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("a sandbox is made, runs, and leaves nothing when it is removed") {
    Bench bench;
    const auto report = bench.make("web");
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message));
    CHECK(bench.state("web") == "running");
    for (const char* file : {"disk.qcow2", "seed.iso", "domain.xml", "vmbox.json"}) {
        CHECK(fs::is_regular_file(bench.box("web") / file));
    }
    CHECK(list(bench.place, bench.observer)->at(0).disk_bytes == 64 * KiB + MiB);
    CHECK(remove({.name = "web", .place = bench.place}, bench.observer));
    CHECK_FALSE(fs::exists(bench.box("web")));
    CHECK_FALSE(bench.hypervisor->find_by_name("web").value());
    CHECK(content(bench.base()) == std::string(64 * KiB, 'b'));
}

TEST_CASE("secrets are closed to other users") {
    Bench bench;
    REQUIRE(bench.make("web"));
    const auto others = fs::perms::group_all | fs::perms::others_all;
    CHECK((fs::status(bench.box("web") / "seed.iso").permissions() & others) == fs::perms::none);
    CHECK((fs::status(bench.box("web") / "disk.qcow2").permissions() & others) == fs::perms::none);
}

TEST_CASE("stopped, started again, and reset, it keeps its identity") {
    Bench bench;
    REQUIRE(bench.make("web"));
    const SandboxFolder folder(bench.place.folder, "web");
    const Record first = folder.read_record().value();
    REQUIRE(stop({.name = "web", .place = bench.place}, bench.observer));
    CHECK(bench.state("web") == "off");
    CHECK(stop({.name = "web", .place = bench.place}, bench.observer)->was_off);

    UpOptions again{.name = "web", .place = bench.place, .create = {}, .wait = {.until = Until::started}};
    REQUIRE(up(again, bench.observer));
    CHECK(bench.state("web") == "running");
    CHECK(up(again, bench.observer)->was_running);

    const std::string seed = content(bench.box("web") / "seed.iso");
    REQUIRE(reset({.name = "web", .place = bench.place, .wait = {.until = Until::started}}, bench.observer));
    CHECK(bench.state("web") == "running");
    CHECK(content(bench.box("web") / "seed.iso") == seed);
    const Record last = folder.read_record().value();
    CHECK(last.uuid == first.uuid);
    CHECK(last.mac == first.mac);
    CHECK(last.disk_bytes == first.disk_bytes);
    REQUIRE(remove({.name = "web", .place = bench.place}, bench.observer));
}

TEST_CASE("a domain of the same name that is not the sandbox's is left alone") {
    Bench bench;  // the test driver runs a domain called "test"
    const auto refused = bench.make("test");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::exists);
    CHECK_FALSE(fs::exists(bench.box("test")));
    CHECK(bench.hypervisor->find_by_name("test").value()->status()->active);
}

TEST_CASE("a second sandbox of the same name is refused and harms nothing") {
    Bench bench;
    REQUIRE(bench.make("web"));
    const auto refused = bench.make("web");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::exists);
    CHECK(bench.state("web") == "running");
    REQUIRE(remove({.name = "web", .place = bench.place}, bench.observer));
}

TEST_CASE("what fails before the domain runs leaves nothing behind") {
    Bench bench;
    UpOptions missing = bench.options("web");
    missing.create->base = bench.root / "missing.img";
    CHECK(up(missing, bench.observer).error().kind == ErrorKind::not_found);

    UpOptions network = bench.options("web");
    network.create->machine.network = "nowhere";
    CHECK(up(network, bench.observer).error().kind == ErrorKind::not_found);

    UpOptions forward = bench.options("web");
    forward.create->machine.network = "default";
    forward.create->machine.forwards = {{2222, 22}};
    CHECK(up(forward, bench.observer).error().kind == ErrorKind::invalid_argument);

    bench.observer.cancel_at = Stage::created;  // as by Ctrl-C when the files are there
    CHECK(bench.make("web").error().kind == ErrorKind::cancelled);
    CHECK_FALSE(fs::exists(bench.box("web")));
    CHECK_FALSE(bench.hypervisor->find_by_name("web").value());
}

TEST_CASE("a base that somebody writes to is refused") {
    Bench bench;
    const auto writer = open_file(bench.base(), {.access = Access::read_write, .locking = Locking::qemu});
    REQUIRE(writer);
    CHECK(bench.make("web").error().kind == ErrorKind::in_use);
    CHECK_FALSE(fs::exists(bench.box("web")));
}

TEST_CASE("a base that everybody may change is used with a warning") {
    Bench bench;
    fs::permissions(bench.base(), fs::perms::others_write, fs::perm_options::add);
    REQUIRE(bench.make("web"));
    REQUIRE(bench.observer.warnings.size() == 1);
    CHECK(bench.observer.warnings[0].find("base.img: every user may change this image") != std::string::npos);
    REQUIRE(remove({.name = "web", .place = bench.place}, bench.observer));
}

TEST_CASE("files that vmbox did not make are kept unless forced") {
    Bench bench;
    REQUIRE(bench.make("web"));
    std::ofstream(bench.box("web") / "notes.txt") << "mine";
    CHECK(remove({.name = "web", .place = bench.place}, bench.observer).error().kind == ErrorKind::exists);
    CHECK(bench.state("web") == "running");
    CHECK(remove({.name = "web", .place = bench.place, .force = true}, bench.observer));
    CHECK_FALSE(fs::exists(bench.box("web")));
}

TEST_CASE("removing follows no symbolic link") {
    Bench bench;
    fs::create_directory(bench.root / "precious");
    std::ofstream(bench.root / "precious" / "file") << "kept";
    REQUIRE(bench.make("web"));
    fs::create_directory_symlink(bench.root / "precious", bench.box("web") / "link");
    CHECK(remove({.name = "web", .place = bench.place, .force = true}, bench.observer));
    CHECK(content(bench.root / "precious" / "file") == "kept");

    fs::create_directory_symlink(bench.root / "precious", bench.box("fake"));
    CHECK_FALSE(remove({.name = "fake", .place = bench.place, .force = true}, bench.observer));
    CHECK(content(bench.root / "precious" / "file") == "kept");
}

TEST_CASE("a sandbox that another one stands on is neither removed nor made new") {
    Bench bench;
    REQUIRE(bench.make("lower"));
    REQUIRE(stop({.name = "lower", .place = bench.place}, bench.observer));
    UpOptions upper = bench.options("upper");
    upper.create->base = bench.box("lower") / "disk.qcow2";
    upper.create->base_format = "qcow2";
    REQUIRE(up(upper, bench.observer));
    CHECK(remove({.name = "lower", .place = bench.place}, bench.observer).error().kind == ErrorKind::in_use);
    CHECK(reset({.name = "lower", .place = bench.place}, bench.observer).error().kind == ErrorKind::in_use);
    REQUIRE(remove({.name = "upper", .place = bench.place}, bench.observer));
    CHECK(remove({.name = "lower", .place = bench.place}, bench.observer));
}

TEST_CASE("names that are no good for a folder or for libvirt are refused") {
    for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                    std::string("-a"), std::string(".a"), std::string("a b"),
                                    std::string("\xc3\xa4"), std::string("a\n"), std::string(65, 'a')}) {
        CHECK(check_name(name).error().kind == ErrorKind::invalid_argument);
    }
    for (const char* name : {"a", "0", "web-1.example_x"})
        CHECK(check_name(name));
}

TEST_CASE("libvirt on another machine is refused, because it cannot see the files") {
    CHECK(is_remote("qemu+ssh://host/system"));
    CHECK_FALSE(is_remote("qemu:///system"));
    CHECK_FALSE(is_remote("qemu+unix:///system?socket=/run/x"));
    CHECK(is_system("qemu+unix:///system?socket=/run/x"));
    CHECK_FALSE(is_system("qemu:///session"));
    CHECK(Hypervisor::connect("qemu+ssh://host/system").error().kind == ErrorKind::invalid_argument);
}

TEST_CASE("a sandbox whose base changed does not start; it is made new with a warning") {
    Bench bench;
    REQUIRE(bench.make("web"));
    REQUIRE(stop({.name = "web", .place = bench.place}, bench.observer));
    const UpOptions again{
        .name = "web", .place = bench.place, .create = {}, .wait = {.until = Until::started}};

    fs::last_write_time(bench.base(), fs::file_time_type::clock::now() + std::chrono::hours(1));
    REQUIRE(up(again, bench.observer));  // a time alone says nothing
    REQUIRE(stop({.name = "web", .place = bench.place}, bench.observer));

    std::ofstream(bench.base()) << std::string(64 * KiB, 'c');
    const auto refused = up(again, bench.observer);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().kind == ErrorKind::unsafe);
    CHECK(refused.error().message.find("base.img' changed since") != std::string::npos);
    CHECK(refused.error().message.find("'vmbox reset web'") != std::string::npos);
    CHECK(bench.state("web") == "off");

    bench.observer.warnings.clear();
    REQUIRE(reset({.name = "web", .place = bench.place, .wait = {.until = Until::started}}, bench.observer));
    REQUIRE(bench.observer.warnings.size() == 1);
    CHECK(bench.observer.warnings[0].find("made new on it as it is now") != std::string::npos);
    REQUIRE(stop({.name = "web", .place = bench.place}, bench.observer));
    CHECK(up(again, bench.observer));
    REQUIRE(remove({.name = "web", .place = bench.place}, bench.observer));
}
