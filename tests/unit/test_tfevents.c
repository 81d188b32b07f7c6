#include "formats/tfevents.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/test_folder.h"

/* The iSCSI test vectors of RFC 3720, appendix B.4, and the customary "123456789". */
static void crc32c_known_answers(void **state)
{
    (void)state;
    unsigned char bytes[32] = {0};
    assert_int_equal(lh_crc32c(bytes, 32), 0x8A9136AAu);
    memset(bytes, 0xFF, 32);
    assert_int_equal(lh_crc32c(bytes, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)i;
    }
    assert_int_equal(lh_crc32c(bytes, 32), 0x46DD794Eu);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)(31 - i);
    }
    assert_int_equal(lh_crc32c(bytes, 32), 0x113FDB5Cu);
    assert_int_equal(lh_crc32c("123456789", 9), 0xE3069283u);
    assert_int_equal(lh_crc32c("", 0), 0u);
}

static lh_tfevents *open_events(int64_t first_step)
{
    lh_tfevents *events = NULL;
    lh_error error = {0};
    if (lh_tfevents_open(&events, test_folder, first_step, &error) != LH_OK) {
        fail_msg("%s", error.message);
    }
    return events;
}

/* The bytes of one file, field by field, against the format's definition. */
static void the_bytes_are_as_defined(void **state)
{
    (void)state;
    lh_tfevents *events = open_events(300);
    const lh_tfevents_scalar scalars[] = {{"a/b", 0.5}, {"c", -2.0}};
    assert_int_equal(lh_tfevents_add(events, 7, scalars, 2, NULL), LH_OK);
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(lh_file_read(lh_tfevents_path(events), 0, &text, &size, NULL), LH_OK);
    lh_tfevents_close(events);
    static const unsigned char version[] = {0x10, 0,   0x1A, 13,  'b', 'r', 'a', 'i', 'n',
                                            '.',  'E', 'v',  'e', 'n', 't', ':', '2'};
    static const unsigned char start[] = {0x10, 0xAC, 0x02, 0x3A, 2, 8, 1};
    static const unsigned char summary[] = {0x10, 7, 0x2A, 22,   0x0A, 10,   0x0A, 3,   'a',  '/', 'b', 0x15, 0,
                                            0,    0, 0x3F, 0x0A, 8,    0x0A, 1,    'c', 0x15, 0,   0,   0,    0xC0};
    const struct {
        const unsigned char *bytes;
        size_t size;
    } bodies[] = {{version, sizeof version}, {start, sizeof start}, {summary, sizeof summary}};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++) {
        uint64_t length;
        double wall_time;
        memcpy(&length, text + at, 8);
        assert_int_equal(length, bodies[i].size + 9);
        assert_int_equal((unsigned char)text[at + 12], 0x09);
        memcpy(&wall_time, text + at + 13, 8);
        assert_true(wall_time > 1.6e9 && wall_time < 1e11);
        assert_memory_equal(text + at + 21, bodies[i].bytes, bodies[i].size);
        at += 8 + 4 + length + 4;
    }
    assert_int_equal(at, size);
    lh_heap_free(text);
}

static const char decoder[] =
    "import struct, sys\n"
    "table = []\n"
    "for n in range(256):\n"
    "    for _ in range(8):\n"
    "        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)\n"
    "    table.append(n)\n"
    "def masked(data):\n"
    "    crc = 0xFFFFFFFF\n"
    "    for byte in data:\n"
    "        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)\n"
    "    crc ^= 0xFFFFFFFF\n"
    "    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF\n"
    "def varint(data, at):\n"
    "    value = shift = 0\n"
    "    while True:\n"
    "        value |= (data[at] & 127) << shift\n"
    "        shift += 7\n"
    "        at += 1\n"
    "        if not data[at - 1] & 128:\n"
    "            return value, at\n"
    "def fields(data):\n"
    "    at = 0\n"
    "    while at < len(data):\n"
    "        tag, at = varint(data, at)\n"
    "        if tag & 7 == 0:\n"
    "            value, at = varint(data, at)\n"
    "        elif tag & 7 == 1:\n"
    "            value, at = data[at:at + 8], at + 8\n"
    "        elif tag & 7 == 5:\n"
    "            value, at = data[at:at + 4], at + 4\n"
    "        elif tag & 7 == 2:\n"
    "            size, at = varint(data, at)\n"
    "            value, at = data[at:at + size], at + size\n"
    "        else:\n"
    "            raise ValueError(tag)\n"
    "        assert at <= len(data)\n"
    "        yield tag >> 3, value\n"
    "for path in sys.argv[1:]:\n"
    "    raw = open(path, 'rb').read()\n"
    "    at = 0\n"
    "    while at < len(raw):\n"
    "        size, = struct.unpack('<Q', raw[at:at + 8])\n"
    "        assert struct.unpack('<I', raw[at + 8:at + 12])[0] == masked(raw[at:at + 8])\n"
    "        body = raw[at + 12:at + 12 + size]\n"
    "        assert struct.unpack('<I', raw[at + 12 + size:at + 16 + size])[0] == masked(body)\n"
    "        at += 16 + size\n"
    "        step, out = 0, []\n"
    "        for field, value in fields(body):\n"
    "            if field == 2:\n"
    "                step = value if value < 1 << 63 else value - (1 << 64)\n"
    "            elif field == 3:\n"
    "                out.append(value.decode())\n"
    "            elif field == 7:\n"
    "                out.append('session %s' % dict(fields(value)))\n"
    "            elif field == 5:\n"
    "                for _, item in fields(value):\n"
    "                    item = dict(fields(item))\n"
    "                    out.append('%s=%r' % (item[1].decode(), struct.unpack('<f', item[2])[0]))\n"
    "        print(step, *out)\n";

/* An independent reader, written from the format's definition alone, must see what was written, over two sessions.
 */
static void python_reads_the_files(void **state)
{
    (void)state;
    if (system("python3 -c 'import struct' 2>/dev/null") != 0) {
        print_message("skipped: python3 is not installed\n");
        skip();
    }
    lh_tfevents *events = open_events(0);
    char long_tag[300];
    memset(long_tag, 't', sizeof long_tag);
    long_tag[299] = '\0';
    assert_int_equal(lh_tfevents_add(events, 1, (lh_tfevents_scalar[]){{"loss", 0.25}, {"lr", 1e-3}}, 2, NULL),
                     LH_OK);
    assert_int_equal(lh_tfevents_add(events, (int64_t)1 << 40, (lh_tfevents_scalar[]){{"x", NAN}}, 1, NULL), LH_OK);
    assert_int_equal(lh_tfevents_add(events, 3, (lh_tfevents_scalar[]){{long_tag, 1}}, 1, NULL), LH_OK);
    assert_int_equal(lh_tfevents_add(events, 4, NULL, 0, NULL), LH_OK);
    lh_tfevents_close(events);
    events = open_events(2);
    assert_int_equal(lh_tfevents_add(events, 2, (lh_tfevents_scalar[]){{"loss", -INFINITY}}, 1, NULL), LH_OK);
    lh_tfevents_close(events);
    put_file("decode.py", decoder);
    char command[600];
    (void)snprintf(command, sizeof command, "cd %s && python3 decode.py events.out.tfevents.* >seen", test_folder);
    assert_int_equal(system(command), 0);
    char *text = NULL;
    assert_int_equal(lh_file_read(in_folder("seen"), 0, &text, NULL, NULL), LH_OK);
    lh_string expected = {0};
    lh_string_print(&expected,
                    "0 brain.Event:2\n0 session {1: 1}\n1 loss=0.25 lr=0.0010000000474974513\n1099511627776 x=nan\n"
                    "3 %s=1.0\n4\n0 brain.Event:2\n2 session {1: 1}\n2 loss=-inf\n",
                    long_tag);
    assert_string_equal(text, expected.data);
    lh_heap_free(text);
    lh_string_free(&expected);
}

static void each_session_has_a_later_name(void **state)
{
    (void)state;
    char last[256] = "";
    for (int i = 0; i < 5; i++) {
        lh_tfevents *events = open_events(i);
        assert_true(strcmp(lh_tfevents_path(events), last) > 0);
        (void)snprintf(last, sizeof last, "%s", lh_tfevents_path(events));
        lh_tfevents_close(events);
    }
    /* A file from the future: the clock was set back since. */
    put_file("events.out.tfevents.9000000000.host", "");
    lh_tfevents *events = open_events(0);
    assert_true(strcmp(lh_tfevents_path(events), in_folder("events.out.tfevents.9000000000.host")) > 0);
    lh_tfevents_close(events);
    assert_int_equal(files_in_folder(), 7);
}

static void a_full_disk_loses_only_its_event(void **state)
{
    (void)state;
    lh_tfevents *events = open_events(0);
    struct stat before, after;
    assert_int_equal(stat(lh_tfevents_path(events), &before), 0);
    const lh_tfevents_scalar scalar = {"loss", 1};
    for (int room = 0; room < 30; room++) {
        lh_error error = {0};
        limit_files((rlim_t)(before.st_size + room));
        lh_status status = lh_tfevents_add(events, 1, &scalar, 1, &error);
        limit_files(RLIM_INFINITY);
        assert_int_equal(status, LH_E_IO);
        assert_says(&error, "tfevents");
        assert_int_equal(stat(lh_tfevents_path(events), &after), 0);
        assert_int_equal(after.st_size, before.st_size);
    }
    assert_int_equal(lh_tfevents_add(events, 1, &scalar, 1, NULL), LH_OK);
    lh_tfevents_close(events);
}

static void wrong_folders_are_named(void **state)
{
    (void)state;
    lh_tfevents *events = NULL;
    lh_error error = {0};
    assert_int_equal(lh_tfevents_open(&events, in_folder("none"), 0, &error), LH_E_IO);
    assert_says(&error, "none");
    assert_null(events);
}

static void want_of_memory_is_reported(void **state)
{
    (void)state;
    uint64_t live = lh_heap_live_bytes();
    lh_status status = LH_E_MEMORY;
    const lh_tfevents_scalar scalar[2] = {
        {"0123456789012345678901234567890123456789012345678901234567890123456789", 1}, {"b", 1}};
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_tfevents *events = NULL;
        lh_heap_fail_after(after);
        status = lh_tfevents_open(&events, test_folder, 0, NULL);
        if (status == LH_OK) {
            status = lh_tfevents_add(events, 1, scalar, 2, NULL);
        }
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_tfevents_close(events);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
}

static void a_steady_log_asks_for_no_memory(void **state)
{
    (void)state;
    lh_tfevents *events = open_events(0);
    const lh_tfevents_scalar scalar[2] = {{"a", 1}, {"b", 2}};
    assert_int_equal(lh_tfevents_add(events, 1, scalar, 2, NULL), LH_OK);
    uint64_t before = lh_heap_allocations();
    for (int64_t step = 2; step < 100; step++) {
        assert_int_equal(lh_tfevents_add(events, step, scalar, 2, NULL), LH_OK);
    }
    assert_int_equal(lh_heap_allocations(), before);
    lh_tfevents_close(events);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_known_answers),      IN_FOLDER(the_bytes_are_as_defined),
        IN_FOLDER(python_reads_the_files),           IN_FOLDER(each_session_has_a_later_name),
        IN_FOLDER(a_full_disk_loses_only_its_event), IN_FOLDER(wrong_folders_are_named),
        IN_FOLDER(want_of_memory_is_reported),       IN_FOLDER(a_steady_log_asks_for_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
