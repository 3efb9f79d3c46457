// libvirt's calls, each with its error translated.
// SPDX-License-Identifier: Apache-2.0
#include "vm/hypervisor.hpp"

#include <unistd.h>

#include <array>
#include <span>
#include <string_view>

#include "base/text.hpp"
#include "base/try.hpp"

namespace qimg::vm {

namespace {

// The URI without "scheme://" and query: "HOST/PATH".
std::string_view authority_and_path(const std::string& uri) {
    std::string_view rest = uri;
    const std::size_t start = rest.find("://");
    if (start == std::string_view::npos) return {};
    rest.remove_prefix(start + 3);
    return rest.substr(0, rest.find_first_of("?#"));
}

std::unexpected<Error> fail_connect(const std::string& uri) {
    auto error = fail_libvirt(uri, "cannot connect").error();
    error.kind = ErrorKind::not_found;
    if (is_system(uri)) {
        error.message += ::geteuid() == 0 ? "; is libvirtd running? (systemctl start libvirtd)"
                                          : "; is libvirtd running, and are you in the group libvirt? "
                                            "(or use --connect qemu:///session)";
    } else {
        error.message += "; is libvirt's daemon installed? (Debian: libvirt-daemon-system)";
    }
    return std::unexpected<Error>(std::move(error));
}

std::string_view pause_reason(int reason) {
    switch (reason) {
        case VIR_DOMAIN_PAUSED_USER:
            return "by request";
        case VIR_DOMAIN_PAUSED_IOERROR:
            return "I/O error, perhaps a full disk";
        case VIR_DOMAIN_PAUSED_WATCHDOG:
            return "watchdog";
        case VIR_DOMAIN_PAUSED_CRASHED:
            return "crashed";
        case VIR_DOMAIN_PAUSED_STARTING_UP:
            return "starting up";
        default:
            return "unknown";
    }
}

// libvirt says "unknown" when KVM stopped the guest with an internal error.
bool is_broken_pause(int reason) {
    return reason == VIR_DOMAIN_PAUSED_UNKNOWN || reason == VIR_DOMAIN_PAUSED_IOERROR ||
           reason == VIR_DOMAIN_PAUSED_CRASHED;
}

DomainStatus describe(int state, int reason) {
    switch (state) {
        case VIR_DOMAIN_RUNNING:
        case VIR_DOMAIN_BLOCKED:
            return {.active = true, .text = "running"};
        case VIR_DOMAIN_PAUSED:
            return {.active = true,
                    .text = fmt::format("paused ({})", pause_reason(reason)),
                    .broken = is_broken_pause(reason),
                    .disk_failed = reason == VIR_DOMAIN_PAUSED_IOERROR};
        case VIR_DOMAIN_SHUTDOWN:
            return {.active = true, .text = "shutting down"};
        case VIR_DOMAIN_PMSUSPENDED:
            return {.active = true, .text = "suspended by the guest"};
        case VIR_DOMAIN_CRASHED:
            return {.active = false, .text = "crashed", .broken = true};
        default:
            return {.active = false, .text = "off"};
    }
}

Ending ending_of(int detail) {
    switch (detail) {
        case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
            return Ending::guest_off;
        case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
        case VIR_DOMAIN_EVENT_STOPPED_FAILED:
            return Ending::crashed;
        default:
            return Ending::destroyed;
    }
}

std::string uuid_of(virDomainPtr domain) {
    std::array<char, VIR_UUID_STRING_BUFLEN> text{};
    return virDomainGetUUIDString(domain, text.data()) == 0 ? std::string(text.data()) : std::string();
}

std::optional<std::string> first_address(virDomainPtr domain, unsigned source) {
    virDomainInterfacePtr* list = nullptr;
    const int count = virDomainInterfaceAddresses(domain, &list, source, 0);
    if (count < 0) return std::nullopt;
    std::optional<std::string> found;
    for (virDomainInterfacePtr card : std::span(list, static_cast<std::size_t>(count))) {
        for (const virDomainIPAddress& address : std::span(card->addrs, card->naddrs)) {
            if (!found && address.type == VIR_IP_ADDR_TYPE_IPV4) found = address.addr;
        }
        virDomainInterfaceFree(card);
    }
    std::free(list);
    return found;
}

Result<std::optional<Domain>> found_or_absent(virDomainPtr domain, const std::string& what) {
    if (domain) return std::optional<Domain>(Domain(DomainHandle(domain)));
    if (last_libvirt_code() == VIR_ERR_NO_DOMAIN) return std::optional<Domain>();
    return fail_libvirt(what, "cannot look the domain up");
}

}  // namespace

bool is_remote(const std::string& uri) {
    const std::string_view rest = authority_and_path(uri);
    return !rest.empty() && !rest.starts_with('/');
}

bool is_system(const std::string& uri) {
    return authority_and_path(uri) == "/system";
}

std::string Domain::uuid() const {
    return uuid_of(handle_.get());
}

Result<DomainStatus> Domain::status() const {
    int state = 0;
    int reason = 0;
    if (virDomainGetState(handle_.get(), &state, &reason, 0) == 0) return describe(state, reason);
    // a transient domain that ended is not known any more
    if (last_libvirt_code() == VIR_ERR_NO_DOMAIN) return describe(VIR_DOMAIN_SHUTOFF, 0);
    return fail_libvirt(virDomainGetName(handle_.get()), "cannot tell the domain's state");
}

Result<void> Domain::request_shutdown() const {
    if (virDomainShutdown(handle_.get()) == 0) return {};
    const DomainStatus now = TRY(status());
    if (!now.active) return {};
    return fail_libvirt(virDomainGetName(handle_.get()), "cannot ask the guest to shut down");
}

Result<void> Domain::destroy() const {
    if (virDomainDestroy(handle_.get()) == 0) return {};
    const int code = last_libvirt_code();
    if (code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID) return {};
    return fail_libvirt(virDomainGetName(handle_.get()), "cannot switch the domain off");
}

std::optional<std::string> Domain::address() const {
    for (const unsigned source :
         {VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP}) {
        if (auto found = first_address(handle_.get(), source)) return found;
    }
    return std::nullopt;
}

Hypervisor::Hypervisor(ConnectionHandle connection, std::string uri)
    : uri_(std::move(uri)), endings_(std::make_unique<Endings>()), connection_(std::move(connection)) {}

Hypervisor::~Hypervisor() {
    if (connection_ && callback_ >= 0) virConnectDomainEventDeregisterAny(connection_.get(), callback_);
}

Result<Hypervisor> Hypervisor::connect(const std::string& uri) {
    if (is_remote(uri)) {
        return failf(ErrorKind::invalid_argument,
                     "{}: on another machine; sandboxes are made of files of this one, so run vmbox there",
                     printable(uri));
    }
    prepare_libvirt();
    Hypervisor hypervisor(ConnectionHandle(virConnectOpen(uri.c_str())), uri);
    if (!hypervisor.connection_) return fail_connect(uri);
    hypervisor.callback_ = virConnectDomainEventRegisterAny(
        hypervisor.handle(), nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
        // libvirt keeps callbacks of every kind in one generic type
        [] {
            const auto typed = [](virConnectPtr connection, virDomainPtr domain, int event, int detail,
                                  void* data) {
                on_lifecycle(connection, domain, event, detail, data);
                return 0;
            };
            return VIR_DOMAIN_EVENT_CALLBACK(+typed);
        }(),
        hypervisor.endings_.get(), nullptr);
    if (hypervisor.callback_ < 0) return fail_libvirt(uri, "cannot watch domains");
    return hypervisor;
}

void Hypervisor::on_lifecycle(virConnectPtr /*connection*/, virDomainPtr domain, int event, int detail,
                              void* endings) {
    if (event != VIR_DOMAIN_EVENT_STOPPED && event != VIR_DOMAIN_EVENT_CRASHED) return;
    auto& state = *static_cast<Endings*>(endings);
    state.by_uuid[uuid_of(domain)] = event == VIR_DOMAIN_EVENT_CRASHED ? Ending::crashed : ending_of(detail);
    state.news = true;
}

Result<HostFacts> Hypervisor::host_facts() const {
    const TextHandle xml(virConnectGetCapabilities(handle()));
    if (!xml) return fail_libvirt(uri_, "cannot ask for capabilities");
    return parse_capabilities(xml.get());
}

bool Hypervisor::network_is_active(const std::string& name) const {
    const NetworkHandle network(virNetworkLookupByName(handle(), name.c_str()));
    return network && virNetworkIsActive(network.get()) == 1;
}

Result<Domain> Hypervisor::start(const std::string& name, const std::string& xml) const {
    DomainHandle domain(virDomainCreateXML(handle(), xml.c_str(), 0));
    if (!domain) return fail_libvirt(name, "cannot start the domain");
    return Domain(std::move(domain));
}

Result<std::optional<Domain>> Hypervisor::find_by_uuid(const std::string& uuid) const {
    return found_or_absent(virDomainLookupByUUIDString(handle(), uuid.c_str()), uuid);
}

Result<std::optional<Domain>> Hypervisor::find_by_name(const std::string& name) const {
    return found_or_absent(virDomainLookupByName(handle(), name.c_str()), name);
}

void Hypervisor::wait(std::chrono::milliseconds timeout) const {
    bool expired = false;
    const int timer = virEventAddTimeout(
        static_cast<int>(timeout.count()), [](int, void* flag) { *static_cast<bool*>(flag) = true; },
        &expired, nullptr);
    if (timer < 0) return;
    endings_->news = false;
    while (!expired && !endings_->news && virEventRunDefaultImpl() == 0) {
    }
    virEventRemoveTimeout(timer);
}

std::optional<Ending> Hypervisor::ending(const std::string& uuid) const {
    const auto found = endings_->by_uuid.find(uuid);
    if (found == endings_->by_uuid.end()) return std::nullopt;
    return found->second;
}

void Hypervisor::forget_ending(const std::string& uuid) const {
    endings_->by_uuid.erase(uuid);
}

}  // namespace qimg::vm
