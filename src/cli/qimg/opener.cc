// Deciding about risky names.
// SPDX-License-Identifier: Apache-2.0
#include "cli/qimg/opener.hpp"

#include <fmt/core.h>

#include "cli/qimg/refusal.hpp"
#include "cli/qimg/sandbox.hpp"
#include "cli/qimg/source_image.hpp"
#include "qimg/printable.hpp"
#include "qimg/trust.hpp"

namespace qimg::cli {

namespace {

bool is_trusting = false;

Result<void> decide(const std::string&, const std::string& risk) {
    if (is_trusting) return {};
    return refuse_unless_compatible(risk, "use 'qimg --trust COMMAND …' if you trust that image");
}

class CommandOpener final : public Opener {
  public:
    void confine(Reach reach) {
        reach_ = reach;
        if (reach == Reach::chain) enter_sandbox(MayOpen::to_read);
    }
    void expect_last_image() { is_last_ = true; }

    Result<std::unique_ptr<Storage>> open(const std::string& path, const FileOptions& options) override {
        auto file = cautious_.open(path, options);
        if (file && reach_ == Reach::file) enter_sandbox(MayOpen::nothing);
        return file;
    }
    Result<std::unique_ptr<Storage>> open_reference(const std::string& named_by, const std::string& path,
                                                    const FileOptions& options) override {
        return cautious_.open_reference(named_by, path, options);
    }
    Result<ImageLocation> locate(const std::string& named_by, const std::string& name) override {
        const auto decided =
            decide(named_by, fmt::format("'{}' is named in the header of '{}', but is not a file's name",
                                         printable(name), printable(named_by)));
        if (!decided) return std::unexpected<Error>(decided.error());
        return parse_source(name, {});
    }
    void all_is_open() override {
        if (is_last_) enter_sandbox(MayOpen::nothing);
    }

  private:
    CautiousOpener cautious_{decide};
    std::optional<Reach> reach_;
    bool is_last_ = false;
};

CommandOpener& the_opener() {
    static CommandOpener opener;
    return opener;
}

}  // namespace

void trust_headers() {
    is_trusting = true;
}

Opener& command_opener() {
    return the_opener();
}

Opener& confined_opener(Reach reach) {
    the_opener().confine(reach);
    return the_opener();
}

void last_image_follows() {
    the_opener().expect_last_image();
}

}  // namespace qimg::cli
