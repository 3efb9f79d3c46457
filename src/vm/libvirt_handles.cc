// Translates libvirt's last error, and sets the library up once per process.
// SPDX-License-Identifier: Apache-2.0
#include "vm/libvirt_handles.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace qimg::vm {

namespace {

ErrorKind kind_of(int code) {
    switch (code) {
        case VIR_ERR_NO_DOMAIN:
        case VIR_ERR_NO_NETWORK:
            return ErrorKind::not_found;
        case VIR_ERR_DOM_EXIST:
            return ErrorKind::exists;
        case VIR_ERR_NO_SUPPORT:
        case VIR_ERR_CONFIG_UNSUPPORTED:
            return ErrorKind::unsupported;
        case VIR_ERR_INVALID_ARG:
        case VIR_ERR_XML_ERROR:
        case VIR_ERR_XML_INVALID_SCHEMA:
            return ErrorKind::invalid_argument;
        default:
            return ErrorKind::io;
    }
}

void ignore_error(void* /*data*/, virErrorPtr /*error*/) {}

}  // namespace

std::unexpected<Error> fail_libvirt(std::string_view subject, std::string_view doing) {
    const virErrorPtr error = virGetLastError();
    std::string reason = error && error->message ? error->message : "libvirt gave no reason";
    // QEMU's own messages come with their line ends
    while (!reason.empty() && (reason.back() == '\n' || reason.back() == ' '))
        reason.pop_back();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    return failf(kind_of(last_libvirt_code()), "{}: {}: {}", printable(subject), doing, printable(reason));
}

int last_libvirt_code() {
    const virErrorPtr error = virGetLastError();
    return error ? error->code : VIR_ERR_OK;
}

void prepare_libvirt() {
    static const bool prepared = [] {
        virSetErrorFunc(nullptr, ignore_error);
        return virInitialize() == 0 && virEventRegisterDefaultImpl() == 0;
    }();
    static_cast<void>(prepared);
}

}  // namespace qimg::vm
