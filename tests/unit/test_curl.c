#include "data/curl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static size_t append(char *data, size_t size, size_t count, void *user)
{
    strncat(user, data, size * count);
    return size * count;
}

/* A transfer that needs no network. */
static void a_local_file_is_fetched(void **state)
{
    (void)state;
    char name[] = "/tmp/longhand-curl-XXXXXX", url[64], text[64] = "";
    int fd = mkstemp(name);
    assert_int_equal(write(fd, "hello", 5), 5);
    (void)close(fd);
    (void)snprintf(url, sizeof url, "file://%s", name);
    lh_curl curl;
    lh_error error = {0};
    assert_int_equal(lh_curl_load(&curl, &error), LH_OK);
    assert_int_equal(lh_curl_load(&curl, &error), LH_OK);
    CURL *handle = curl.easy_init();
    assert_non_null(handle);
    assert_int_equal(curl.easy_setopt(handle, CURLOPT_URL, url), CURLE_OK);
    assert_int_equal(curl.easy_setopt(handle, CURLOPT_WRITEFUNCTION, append), CURLE_OK);
    assert_int_equal(curl.easy_setopt(handle, CURLOPT_WRITEDATA, text), CURLE_OK);
    assert_int_equal(curl.easy_perform(handle), CURLE_OK);
    curl_off_t size = 0;
    assert_int_equal(curl.easy_getinfo(handle, CURLINFO_SIZE_DOWNLOAD_T, &size), CURLE_OK);
    curl.easy_cleanup(handle);
    (void)unlink(name);
    assert_string_equal(text, "hello");
    assert_int_equal(size, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_local_file_is_fetched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
