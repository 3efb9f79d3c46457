// Gathering images, linking them by what their headers name, and putting them into the order of a tree.
// SPDX-License-Identifier: Apache-2.0
#include "qimg/operations/tree.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/text.hpp"
#include "base/try.hpp"
#include "operations/folder_images.hpp"
#include "operations/pin.hpp"
#include "operations/same_file.hpp"

namespace qimg {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t depth_max = 200;  // no longer chain can be opened

struct Found {
    FolderImage image;
    bool missing = false;
    std::optional<std::size_t> base;  // in the order in which they were found
    std::vector<std::size_t> overlays;
};

// All images that matter, each once, whatever names lead to it.
class Gathering {
  public:
    explicit Gathering(Opener& opener) : opener_(opener) {}

    std::vector<Found>& found() { return found_; }

    std::size_t add(FolderImage image) {
        const auto key = std::pair(image.identity.device, image.identity.inode);
        const auto [place, is_new] = by_identity_.try_emplace(key, found_.size());
        if (is_new) found_.push_back({std::move(image), false, {}, {}});
        return place->second;
    }

    // Follows what is named, which adds images that are followed in turn.
    void link() {
        for (std::size_t i = 0; i < found_.size(); ++i) {
            if (!found_[i].image.backing) continue;
            const std::size_t base = find(found_[i].image.path, *found_[i].image.backing);
            found_[i].base = base;
            if (base == i) {
                found_[i].base.reset();
                found_[i].image.problem = "it names itself as its backing file";
            }
        }
    }

  private:
    // By value: what is found may move the images that have these names.
    std::size_t find(std::string named_by, std::string path) {
        const bool is_file = !protocol_of(path);
        const auto identity = is_file ? identity_of_file(path) : std::nullopt;
        if (!identity) return add_without_file(path, is_file);
        const auto known = by_identity_.find({identity->device, identity->inode});
        if (known != by_identity_.end()) return known->second;
        const auto file = opener_.open_reference(named_by, path, {Access::read_only, Locking::share});
        if (file) return add(look_at(path, *identity, **file));
        FolderImage closed;
        closed.path = path;
        closed.identity = *identity;
        closed.problem = file.error().message;
        return add(std::move(closed));
    }

    std::size_t add_without_file(const std::string& path, bool is_file) {
        const auto [place, is_new] = without_file_.try_emplace(path, found_.size());
        if (!is_new) return place->second;
        Found one;
        one.image.path = path;
        one.missing = is_file;
        one.image.problem = is_file ? "no such file" : "not the name of a file; it is not followed";
        found_.push_back(std::move(one));
        return place->second;
    }

    Opener& opener_;
    std::vector<Found> found_;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::size_t> by_identity_;
    std::map<std::string, std::size_t> without_file_;
};

// From here on, i stands on nothing.
void cut(std::vector<Found>& found, std::size_t i, const char* why) {
    found[i].base.reset();
    found[i].image.problem = why;
}

// Afterwards every way down ends. Each image is passed once or twice.
void cut_loops(std::vector<Found>& found) {
    enum class Mark { unseen, on_the_way, done };
    std::vector<Mark> marks(found.size(), Mark::unseen);
    for (std::size_t start = 0; start < found.size(); ++start) {
        std::vector<std::size_t> way;
        std::optional<std::size_t> at = start;
        for (; at && marks[*at] == Mark::unseen; at = found[*at].base) {
            marks[*at] = Mark::on_the_way;
            way.push_back(*at);
        }
        if (at && marks[*at] == Mark::on_the_way) cut(found, *at, "its backing files form a loop");
        for (const std::size_t i : way)
            marks[i] = Mark::done;
    }
}

TreeNode node_of(const Found& found) {
    const FolderImage& image = found.image;
    TreeNode node;
    node.path = image.path;
    node.format = image.format;
    node.missing = found.missing;
    node.problem = image.problem;
    node.virtual_bytes = image.header ? image.header->size : image.format == "raw" ? image.file_bytes : 0;
    node.allocated_bytes = image.allocated_bytes;
    node.snapshots = image.header ? image.header->snapshot_count : 0;
    node.data_file = image.data_file;
    if (!image.format.empty()) node.use = file_use(image.path);
    return node;
}

// What the overlays of one base have pinned; of a base that cannot be opened nothing can be told.
void compare_pins(std::vector<TreeNode>& nodes, std::size_t base,
                  const std::vector<std::pair<std::size_t, const qcow2::Header*>>& overlays, Opener& opener) {
    const bool any_pinned = std::ranges::any_of(overlays, [](const auto& overlay) {
        return overlay.second->find(qcow2::disk::extension_pin) != nullptr;
    });
    if (!any_pinned || nodes[base].problem) return;
    OpenOptions open;
    open.with_backing = false;
    open.locking = Locking::share;
    open.format = overlays.front().second->backing_format();
    const auto image = Image::open(nodes[base].path, open, opener);
    if (!image) return;
    BaseNow now(**image);
    for (const auto& [index, header] : overlays) {
        auto report = now.compare(*header, false, no_progress());
        if (!report) continue;
        nodes[index].pin = std::move(*report);
        nodes[index].pin.overlay = nodes[index].path;
        nodes[index].pin.base = nodes[base].path;
        nodes[index].pin.base_name = header->backing_file.value_or("");
    }
}

// Which of the images are wanted.
using Wanted = std::vector<bool>;

Wanted around(const std::vector<Found>& found, std::size_t centre) {
    Wanted wanted(found.size(), false);
    std::vector<std::size_t> above{centre};
    while (!above.empty()) {
        const std::size_t at = above.back();
        above.pop_back();
        wanted[at] = true;
        above.insert(above.end(), found[at].overlays.begin(), found[at].overlays.end());
    }
    for (std::optional<std::size_t> at = found[centre].base; at; at = found[*at].base)
        wanted[*at] = true;
    return wanted;
}

// Everything, from the roots on, each with its place in the tree.
class Arrangement {
  public:
    Arrangement(std::vector<Found>& found, const Wanted& wanted) : found_(found), wanted_(wanted) {}

    std::vector<TreeNode> arrange(Opener& opener) {
        std::vector<std::size_t> roots;
        for (std::size_t i = 0; i < found_.size(); ++i) {
            if (!found_[i].base) roots.push_back(i);
        }
        push(roots, std::nullopt);
        while (!waiting_.empty()) {
            const Waiting next = waiting_.back();
            waiting_.pop_back();
            place(next);
        }
        for (auto& [base, overlays] : overlays_)
            compare_pins(nodes_, base, overlays, opener);
        for (std::size_t i = nodes_.size(); i-- > 0;) {
            nodes_[i].freed_bytes += nodes_[i].allocated_bytes;
            if (nodes_[i].base) nodes_[*nodes_[i].base].freed_bytes += nodes_[i].freed_bytes;
        }
        return std::move(nodes_);
    }

  private:
    struct Waiting {
        std::size_t found;
        std::optional<std::size_t> base;  // in the tree
    };

    // The first by name is taken first.
    void push(std::vector<std::size_t> which, std::optional<std::size_t> base) {
        std::ranges::sort(which, std::greater<>(),
                          [&](std::size_t i) -> const std::string& { return found_[i].image.path; });
        for (const std::size_t i : which) {
            if (wanted_[i]) waiting_.push_back({i, base});
        }
    }

    void place(Waiting next) {
        const Found& one = found_[next.found];
        TreeNode node = node_of(one);
        if (next.base && nodes_[*next.base].depth + 1 >= depth_max) {
            node.problem = fmt::format("stands on a chain of more than {} images", depth_max);
            next.base.reset();
        }
        node.base = next.base;
        node.depth = next.base ? nodes_[*next.base].depth + 1 : 0;
        if (next.base && one.image.header)
            overlays_[*next.base].emplace_back(nodes_.size(), &*one.image.header);
        nodes_.push_back(std::move(node));
        push(one.overlays, nodes_.size() - 1);
    }

    const std::vector<Found>& found_;
    const Wanted& wanted_;
    std::vector<Waiting> waiting_;
    std::vector<TreeNode> nodes_;
    std::map<std::size_t, std::vector<std::pair<std::size_t, const qcow2::Header*>>> overlays_;
};

}  // namespace

Result<std::vector<TreeNode>> tree(const TreeOptions& options, Opener& opener) {
    Gathering gathering(opener);
    std::error_code unknown;
    const bool is_folder = fs::is_directory(options.path, unknown);
    std::optional<std::size_t> centre;
    if (!is_folder) {
        const auto file = TRY(opener.open(options.path, {Access::read_only, Locking::share}));
        const auto identity = identity_of_file(options.path);
        if (!identity) return failf(ErrorKind::not_found, "{}: no such file", printable(options.path));
        centre = gathering.add(look_at(options.path, *identity, *file));
    }
    std::string folder = is_folder ? options.path : fs::path(options.path).parent_path().string();
    if (folder == ".") folder.clear();  // names without a "./"
    auto images = TRY(images_in(folder));
    for (FolderImage& image : images) {
        // any file at all can be raw: one counts only when somebody names it
        if (image.format == "qcow2") gathering.add(std::move(image));
    }
    gathering.link();
    std::vector<Found>& found = gathering.found();
    cut_loops(found);
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (found[i].base) found[*found[i].base].overlays.push_back(i);
    }
    const Wanted wanted = centre ? around(found, *centre) : Wanted(found.size(), true);
    return Arrangement(found, wanted).arrange(opener);
}

}  // namespace qimg
