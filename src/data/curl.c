#include "data/curl.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

lh_status lh_curl_load(lh_curl *curl, lh_error *error)
{
    static const struct {
        const char *name;
        size_t place;
    } functions[] = {
        {"curl_global_init", offsetof(lh_curl, global_init)},
        {"curl_easy_init", offsetof(lh_curl, easy_init)},
        {"curl_easy_cleanup", offsetof(lh_curl, easy_cleanup)},
        {"curl_easy_reset", offsetof(lh_curl, easy_reset)},
        {"curl_easy_setopt", offsetof(lh_curl, easy_setopt)},
        {"curl_easy_getinfo", offsetof(lh_curl, easy_getinfo)},
        {"curl_easy_perform", offsetof(lh_curl, easy_perform)},
        {"curl_easy_strerror", offsetof(lh_curl, easy_strerror)},
        {"curl_multi_init", offsetof(lh_curl, multi_init)},
        {"curl_multi_cleanup", offsetof(lh_curl, multi_cleanup)},
        {"curl_multi_add_handle", offsetof(lh_curl, multi_add_handle)},
        {"curl_multi_remove_handle", offsetof(lh_curl, multi_remove_handle)},
        {"curl_multi_perform", offsetof(lh_curl, multi_perform)},
        {"curl_multi_poll", offsetof(lh_curl, multi_poll)},
        {"curl_multi_info_read", offsetof(lh_curl, multi_info_read)},
    };
    *curl = (lh_curl){0};
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return lh_fail(error, LH_E_UNSUPPORTED, "downloads need libcurl (libcurl4 on Debian): %s", dlerror());
    }
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *function = dlsym(library, functions[i].name);
        if (!function) {
            return lh_fail(error, LH_E_UNSUPPORTED, "this libcurl has no %s", functions[i].name);
        }
        memcpy((char *)curl + functions[i].place, &function, sizeof function);
    }
    if (curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return lh_fail(error, LH_E_NETWORK, "libcurl cannot be initialised");
    }
    return LH_OK;
}
