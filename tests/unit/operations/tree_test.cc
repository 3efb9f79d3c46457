// What is found in a folder, how it is linked, and that hostile folders come to an end.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/tree.hpp"

#include <doctest/doctest.h>

#include "qimg/operations/create.hpp"
#include "qimg/operations/dependants.hpp"
#include "support/temporary_folder.hpp"

using namespace qimg;
using namespace qimg::test;

namespace {

struct Images {
    TemporaryFolder folder;

    void make(const std::string& name, const std::string& backing = "", const std::string& format = "qcow2") {
        CreateOptions options;
        options.path = folder / name;
        options.format = "qcow2";
        options.size = MiB;
        options.check_backing = false;
        if (!backing.empty()) {
            options.qcow2.backing_file = backing;
            options.qcow2.backing_format = format;
        }
        const auto made = create(options);
        REQUIRE_MESSAGE(made, (made ? "" : made.error().message));
    }
    // Each node as "name<base", in order.
    std::string drawn(const std::string& of = "") const {
        const auto nodes = tree({of.empty() ? folder / "" : folder / of});
        REQUIRE_MESSAGE(nodes, (nodes ? "" : nodes.error().message));
        std::string text;
        for (const TreeNode& node : *nodes) {
            text += text.empty() ? "" : " ";
            text += node.path.substr(node.path.rfind('/') + 1);
            if (!node.base) continue;
            const std::string& base = nodes->at(*node.base).path;
            text += "<" + base.substr(base.rfind('/') + 1);
        }
        return text;
    }
    TreeNode node(const std::string& name) const {
        const auto nodes = tree({folder / ""});
        REQUIRE(nodes);
        for (const TreeNode& one : *nodes) {
            if (one.path.ends_with("/" + name)) return one;
        }
        FAIL("no such node: ", name);
        return {};
    }
};

}  // namespace

TEST_CASE("overlays follow what they stand on, by name") {
    Images images;
    images.make("base");
    images.make("z", "base");
    images.make("a", "z");
    images.make("c", "base");
    images.make("alone");
    images.folder.write("notes", "not an image");
    CHECK(images.drawn() == "alone base c<base z<base a<z");
    CHECK(images.drawn("z") == "base z<base a<z");
    CHECK(images.drawn("base") == "base c<base z<base a<z");
    CHECK(images.drawn("alone") == "alone");
}

TEST_CASE("removing an image frees what it has, and what stands on it has") {
    Images images;
    images.make("base");
    images.make("top", "base");
    images.make("other", "base");
    const TreeNode base = images.node("base");
    const TreeNode top = images.node("top");
    CHECK(top.freed_bytes == top.allocated_bytes);
    CHECK(base.freed_bytes ==
          base.allocated_bytes + top.allocated_bytes + images.node("other").allocated_bytes);
    CHECK(base.virtual_bytes == MiB);
}

TEST_CASE("a raw file counts when somebody stands on it") {
    Images images;
    images.folder.write("disk.img", std::string(64 * KiB, 'x'));
    CHECK(images.drawn().empty());
    images.make("top", "disk.img", "raw");
    CHECK(images.drawn() == "disk.img top<disk.img");
    CHECK(images.node("disk.img").virtual_bytes == 64 * KiB);
    CHECK(find_dependants({images.folder / "disk.img", {}}).value().size() == 1);
}

TEST_CASE("a base that is missing is shown once for all that miss it") {
    Images images;
    images.make("a", "gone");
    images.make("b", "gone");
    CHECK(images.drawn() == "gone a<gone b<gone");
    CHECK(images.node("gone").missing);
    images.make("c", "nbd://host/disk");
    CHECK(images.drawn("c") == "disk c<disk");
}

TEST_CASE("images in use are told, by what their users may do") {
    Images images;
    images.make("base");
    images.make("top", "base");
    CHECK(images.node("top").use == FileUse::none);
    {
        OpenOptions options;
        options.access = Access::read_write;
        const auto opened = Image::open(images.folder / "top", options);
        REQUIRE(opened);
        CHECK(images.node("top").use == FileUse::write);
        CHECK(images.node("base").use == FileUse::read);
    }
    {
        OpenOptions options;
        options.locking = Locking::share;
        const auto opened = Image::open(images.folder / "top", options);
        REQUIRE(opened);
        CHECK(images.node("top").use == FileUse::none);
    }
    CHECK(images.node("top").use == FileUse::none);
}

TEST_CASE("of those that stand on an image, only some remember what it was") {
    Images images;
    images.make("base");
    images.make("forgetful", "base");
    CreateOptions options;
    options.path = images.folder / "top";
    options.format = "qcow2";
    options.qcow2.backing_file = "base";
    options.qcow2.backing_format = "qcow2";
    options.pin = PinMode::tables;
    REQUIRE(create(options));
    CHECK(find_dependants({images.folder / "base", "", false}).value().size() == 2);
    const auto pinning = find_dependants({images.folder / "base", "", true}).value();
    CHECK(pinning == std::vector<std::string>{images.folder / "top"});
}

TEST_CASE("a loop is cut where it closes") {
    Images images;
    images.make("a", "b");
    images.make("b", "c");
    images.make("c", "a");
    images.make("d", "b");
    images.make("self", "self");
    CHECK(images.drawn() == "a c<a b<c d<b self");
    CHECK(images.node("a").problem.value() == "its backing files form a loop");
    CHECK(images.node("self").problem.value() == "it names itself as its backing file");
}

TEST_CASE("names of one file lead to one node") {
    Images images;
    images.make("base");
    images.make("top", "link");
    std::filesystem::create_symlink("base", images.folder / "link");
    CHECK(images.drawn() == "base top<base");
}

TEST_CASE("a broken image is shown with what is wrong with it, and as a base, too") {
    Images images;
    images.folder.write("broken", std::string("QFI\xfb\0\0\0\3", 8));
    images.make("top", "broken");
    CHECK(images.drawn() == "broken top<broken");
    CHECK(images.node("broken").problem.has_value());
}

TEST_CASE("bases in other folders are followed only as far as the opener allows") {
    Images elsewhere;
    elsewhere.make("below");
    elsewhere.make("base", "below");
    Images images;
    images.make("top", elsewhere.folder / "base");
    CHECK(images.drawn() == "below base<below top<base");

    class Refusing final : public Opener {
        Result<std::unique_ptr<Storage>> open(const std::string&, const FileOptions&) override {
            return fail(ErrorKind::unsafe, "not this one");
        }
    } refusing;
    const auto nodes = tree({images.folder / ""}, refusing);
    REQUIRE(nodes);
    CHECK(nodes->at(0).problem == "not this one");
}

TEST_CASE("a chain that is too long to be opened is cut") {
    Images images;
    images.make("000");
    for (int i = 1; i < 210; ++i) {
        const auto name = [](int n) {
            return std::string(n < 10 ? "00" : n < 100 ? "0" : "") + std::to_string(n);
        };
        images.make(name(i), name(i - 1));
    }
    const auto nodes = tree({images.folder / ""});
    REQUIRE(nodes);
    CHECK(nodes->size() == 210);
    std::size_t deepest = 0;
    for (const TreeNode& node : *nodes)
        deepest = std::max(deepest, node.depth);
    CHECK(deepest == 199);
}

TEST_CASE("a base that changed is told at each overlay that pinned it") {
    Images images;
    images.make("base");
    REQUIRE(snap(
        {.base = images.folder / "base", .overlay = images.folder / "top", .size = {}, .base_format = {}}));
    CHECK(images.node("top").pin.state == PinState::same);
    OpenOptions open;
    open.access = Access::read_write;
    {
        const auto image = Image::open(images.folder / "base", open);
        REQUIRE(image);
        REQUIRE((*image)->write(GuestOffset(0), std::vector<std::byte>(1, std::byte{1})));
        REQUIRE((*image)->flush());
    }
    CHECK(images.node("top").pin.state == PinState::changed);
    CHECK(images.node("base").pin.state == PinState::none);
}

TEST_CASE("a folder that is not there is an error") {
    CHECK_FALSE(tree({"/nonexistent/folder"}));
}
