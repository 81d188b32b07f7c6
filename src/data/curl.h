/* libcurl, loaded when the first download begins and not when longhand starts: it brings some 20 libraries, which
 * alone take longer to load than the rest of the program.
 *
 *     lh_curl curl;
 *     LH_TRY(lh_curl_load(&curl, error));
 *     CURL *handle = curl.easy_init();
 */
#ifndef LH_DATA_CURL_H
#define LH_DATA_CURL_H

#include "base/error.h"

#include <curl/curl.h>

/* The functions of libcurl that are used, each as curl_<name>. curl's macros that check the type of an option's
 * value apply to calls by the library's own name only, so take care with long against int. */
typedef struct lh_curl {
    CURLcode (*global_init)(long flags);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *handle);
    void (*easy_reset)(CURL *handle);
    CURLcode (*easy_setopt)(CURL *handle, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *handle, CURLINFO info, ...);
    CURLcode (*easy_perform)(CURL *handle);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_perform)(CURLM *multi, int *running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd extra[], unsigned extra_count, int milliseconds,
                            int *ready);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
} lh_curl;

/* Finds the functions, and initialises libcurl, which is safe to do again. The library stays loaded until the
 * process ends. LH_E_UNSUPPORTED if it is not installed. */
lh_status lh_curl_load(lh_curl *curl, lh_error *error);

#endif
