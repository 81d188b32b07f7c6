#include "base/random.h"
#include "formats/json_util.h"
#include "formats/safetensors.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/test_folder.h"

/* A safetensors file in memory, put together by hand from a header text and data. */
typedef struct image {
    unsigned char bytes[4096];
    size_t size;
} image;

static image make_image(const char *header, const void *data, size_t data_size)
{
    image made = {0};
    uint64_t length = strlen(header);
    memcpy(made.bytes, &length, 8);
    memcpy(made.bytes + 8, header, length);
    if (data_size) {
        memcpy(made.bytes + 8 + length, data, data_size);
    }
    made.size = 8 + length + data_size;
    return made;
}

static lh_status open_image(const image *from, lh_safetensors **file, lh_error *error)
{
    return lh_safetensors_open_memory(file, "image", from->bytes, from->size, error);
}

static void assert_refused(const char *header, size_t data_size, lh_status status, const char *words)
{
    static const unsigned char data[256];
    image made = make_image(header, data, data_size);
    lh_safetensors *file = NULL;
    lh_error error = {0};
    assert_int_equal(open_image(&made, &file, &error), status);
    assert_null(file);
    assert_says(&error, words);
    assert_says(&error, "image");
}

/* ---- reading ---- */

static void reads_a_hand_made_file(void **state)
{
    (void)state;
    /* Entries in another order than their data, a scalar, an empty tensor, metadata, padding. */
    static const char header[] = "{\"b\":{\"dtype\":\"I32\",\"shape\":[2,1],\"data_offsets\":[8,16]},"
                                 "\"__metadata__\":{\"format\":\"pt\",\"x\":\"1\\n2\"},"
                                 "\"a\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
                                 "\"e\":{\"dtype\":\"F16\",\"shape\":[3,0,2],\"data_offsets\":[8,8]},"
                                 "\"c\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[16,19]}}   ";
    struct {
        double a;
        int32_t b[2];
        unsigned char c[3];
    } data = {-1.5, {7, -8}, {1, 0, 1}};
    image made = make_image(header, &data, 19);
    lh_safetensors *file = NULL;
    lh_error error = {0};
    assert_int_equal(open_image(&made, &file, &error), LH_OK);
    assert_int_equal(lh_safetensors_count(file), 4);
    static const char *const order[] = {"a", "e", "b", "c"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(lh_safetensors_at(file, i)->name, order[i]);
    }
    assert_null(lh_safetensors_at(file, 4));
    const lh_safetensors_tensor *b = lh_safetensors_find(file, "b");
    assert_int_equal(b->dtype, LH_SAFETENSORS_I32);
    assert_int_equal(b->ndim, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 1);
    assert_int_equal(b->bytes, 8);
    assert_memory_equal(b->data, data.b, 8);
    const lh_safetensors_tensor *a = lh_safetensors_find(file, "a");
    assert_int_equal(a->ndim, 0);
    assert_true(*(const double *)a->data == -1.5);
    assert_int_equal(lh_safetensors_find(file, "e")->bytes, 0);
    assert_memory_equal(lh_safetensors_find(file, "c")->data, data.c, 3);
    assert_null(lh_safetensors_find(file, "d"));
    assert_string_equal(lh_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(lh_safetensors_metadata(file, "x"), "1\n2");
    assert_null(lh_safetensors_metadata(file, "y"));
    assert_int_equal(lh_safetensors_metadata_count(file), 2);
    assert_string_equal(lh_safetensors_metadata_at(file, 1).key, "x");
    lh_safetensors_close(file);
}

static void reads_a_file_without_tensors(void **state)
{
    (void)state;
    image made = make_image("{}", NULL, 0);
    lh_safetensors *file = NULL;
    assert_int_equal(open_image(&made, &file, NULL), LH_OK);
    assert_int_equal(lh_safetensors_count(file), 0);
    assert_null(lh_safetensors_find(file, "a"));
    lh_safetensors_close(file);
}

/* Data behind a header of odd length, as old writers made it, must still come out aligned. */
static void straightens_crooked_tensors(void **state)
{
    (void)state;
    static const char header[] = "{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                 "\"f\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[1,13]},"
                                 "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[13,21]}}";
    const float f[3] = {1.0f, -2.0f, 3.5f};
    const double d = 1e300;
    unsigned char data[21] = {9};
    memcpy(data + 1, f, sizeof f);
    memcpy(data + 13, &d, sizeof d);
    for (size_t pad = 0; pad < 8; pad++) {
        char padded[sizeof header + 8];
        (void)snprintf(padded, sizeof padded, "%s%*s", header, (int)pad, "");
        image made = make_image(padded, data, sizeof data);
        lh_safetensors *file = NULL;
        assert_int_equal(open_image(&made, &file, NULL), LH_OK);
        const lh_safetensors_tensor *tensor = lh_safetensors_find(file, "f");
        assert_int_equal((uintptr_t)tensor->data % 4, 0);
        assert_memory_equal(tensor->data, f, sizeof f);
        tensor = lh_safetensors_find(file, "d");
        assert_int_equal((uintptr_t)tensor->data % 8, 0);
        assert_memory_equal(tensor->data, &d, sizeof d);
        lh_safetensors_close(file);
    }
}

static void refuses_wrong_lengths(void **state)
{
    (void)state;
    image made = make_image("{}", NULL, 0);
    lh_safetensors *file = NULL;
    static const uint64_t lengths[] = {0,         1, 3, 1u << 20, (uint64_t)100 << 20, UINT64_MAX, UINT64_MAX - 7,
                                       1ull << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memcpy(made.bytes, &lengths[i], 8);
        assert_int_equal(open_image(&made, &file, NULL), LH_E_FORMAT);
    }
    for (made.size = 0; made.size < 8; made.size++) {
        lh_error error = {0};
        assert_int_equal(open_image(&made, &file, &error), LH_E_FORMAT);
        assert_says(&error, "8 bytes");
    }
}

static void refuses_headers_that_do_not_add_up(void **state)
{
    (void)state;
#define ONE(dtype, shape, offsets) "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    assert_refused("[]", 0, LH_E_FORMAT, "must start with '{'");
    assert_refused(" {}", 0, LH_E_FORMAT, "must start with '{'");
    assert_refused("{\"t\":}", 0, LH_E_FORMAT, "not valid JSON");
    assert_refused("{}x", 0, LH_E_FORMAT, "not valid JSON");
    assert_refused("{\"t\":1}", 0, LH_E_FORMAT, "must be an object");
    assert_refused("{\"t\":{}}", 0, LH_E_FORMAT, "dtype");
    assert_refused(ONE("\"F8\"", "[1]", "[0,1]"), 1, LH_E_UNSUPPORTED, "dtype F8");
    assert_refused(ONE("7", "[1]", "[0,1]"), 1, LH_E_FORMAT, "dtype");
    assert_refused(ONE("\"U8\"", "4", "[0,4]"), 4, LH_E_FORMAT, "shape must be an array");
    assert_refused(ONE("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, LH_E_FORMAT, "at most 8");
    assert_refused(ONE("\"U8\"", "[-1]", "[0,1]"), 1, LH_E_FORMAT, "size 0");
    assert_refused(ONE("\"U8\"", "[1,1.0]", "[0,1]"), 1, LH_E_FORMAT, "size 1");
    assert_refused(ONE("\"U8\"", "[\"1\"]", "[0,1]"), 1, LH_E_FORMAT, "size 0");
    assert_refused(ONE("\"F64\"", "[4294967296,4294967296]", "[0,0]"), 0, LH_E_FORMAT, "any memory");
    assert_refused(ONE("\"F64\"", "[2305843009213693952]", "[0,0]"), 0, LH_E_FORMAT, "any memory");
    assert_refused(ONE("\"U8\"", "[18446744073709551616]", "[0,0]"), 0, LH_E_FORMAT, "size 0");
    assert_refused(ONE("\"U8\"", "[4]", "4"), 4, LH_E_FORMAT, "data_offsets");
    assert_refused(ONE("\"U8\"", "[4]", "[0]"), 4, LH_E_FORMAT, "data_offsets");
    assert_refused(ONE("\"U8\"", "[4]", "[0,4,4]"), 4, LH_E_FORMAT, "data_offsets");
    assert_refused(ONE("\"U8\"", "[4]", "[0,4.0]"), 4, LH_E_FORMAT, "data_offsets");
    assert_refused(ONE("\"U8\"", "[4]", "[-4,0]"), 4, LH_E_FORMAT, "data_offsets");
    assert_refused(ONE("\"U8\"", "[4]", "[4,0]"), 4, LH_E_FORMAT, "data_offsets");
    assert_refused(ONE("\"U8\"", "[4]", "[0,4]"), 3, LH_E_FORMAT, "truncated");
    assert_refused(ONE("\"U8\"", "[9223372036854775807]", "[0,9223372036854775807]"), 3, LH_E_FORMAT, "truncated");
    assert_refused(ONE("\"U8\"", "[4]", "[0,4]"), 5, LH_E_FORMAT, "the file holds 5");
    assert_refused(ONE("\"U8\"", "[4]", "[1,5]"), 5, LH_E_FORMAT, "hole");
    assert_refused(ONE("\"F32\"", "[2,3]", "[0,20]"), 20, LH_E_FORMAT, "need 24 bytes");
    assert_refused(ONE("\"F32\"", "[0]", "[0,4]"), 4, LH_E_FORMAT, "need 0 bytes");
#define TWO(a, b)                                                                                           \
    "{\"s\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},\"t\":{\"dtype\":\"U8\",\"shape\":[4]," \
    "\"data_offsets\":" b "}}"
    assert_refused(TWO("[0,4]", "[3,7]"), 7, LH_E_FORMAT, "overlap");
    assert_refused(TWO("[0,4]", "[0,4]"), 4, LH_E_FORMAT, "overlap");
    assert_refused(TWO("[0,4]", "[5,9]"), 9, LH_E_FORMAT, "hole");
    assert_refused("{\"s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                   "\"s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                   0, LH_E_FORMAT, "duplicate");
    assert_refused("{\"__metadata__\":[]}", 0, LH_E_FORMAT, "__metadata__");
    assert_refused("{\"__metadata__\":{\"a\":1}}", 0, LH_E_FORMAT, "'a' must be a string");
    assert_refused("{\"a\xFF\":{}}", 0, LH_E_FORMAT, "JSON");
    assert_refused("{\"a\\u0000\":{}}", 0, LH_E_FORMAT, "JSON");
#undef ONE
#undef TWO
}

static void offers_the_nearest_name(void **state)
{
    (void)state;
    image made =
        make_image("{\"layer.0.weight\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", NULL, 0);
    lh_safetensors *file = NULL;
    const lh_safetensors_tensor *tensor = NULL;
    lh_error error = {0};
    assert_int_equal(open_image(&made, &file, NULL), LH_OK);
    assert_int_equal(lh_safetensors_need(file, "layer.0.weigth", &tensor, &error), LH_E_FORMAT);
    assert_null(tensor);
    assert_says(&error, "did you mean 'layer.0.weight'?");
    lh_safetensors_close(file);
}

static void loads_only_what_is_expected(void **state)
{
    (void)state;
    int32_t data[6] = {1, 2, 3, 4, 5, 6}, out[6] = {0};
    image made =
        make_image("{\"w\":{\"dtype\":\"I32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", data, sizeof data);
    lh_safetensors *file = NULL;
    lh_error error = {0};
    assert_int_equal(open_image(&made, &file, NULL), LH_OK);
    assert_int_equal(lh_safetensors_load(file, "w", LH_SAFETENSORS_I32, 2, (int64_t[]){2, 3}, out, NULL), LH_OK);
    assert_memory_equal(out, data, sizeof data);
    assert_int_equal(lh_safetensors_load(file, "w", LH_SAFETENSORS_F32, 2, (int64_t[]){3, 2}, out, &error),
                     LH_E_SHAPE);
    assert_says(&error, "tensor 'w' is I32 [2, 3], but F32 [3, 2] is expected");
    assert_int_equal(lh_safetensors_load(file, "w", LH_SAFETENSORS_F32, 2, (int64_t[]){2, 3}, out, NULL),
                     LH_E_SHAPE);
    assert_int_equal(lh_safetensors_load(file, "w", LH_SAFETENSORS_I32, 1, (int64_t[]){6}, out, NULL), LH_E_SHAPE);
    lh_safetensors_close(file);
}

static void knows_its_dtypes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t size;
    } expected[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
                    {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
    assert_int_equal(sizeof expected / sizeof expected[0], LH_SAFETENSORS_DTYPES);
    for (size_t i = 0; i < LH_SAFETENSORS_DTYPES; i++) {
        assert_string_equal(lh_safetensors_dtype_name((lh_safetensors_dtype)i), expected[i].name);
        assert_int_equal(lh_safetensors_dtype_size((lh_safetensors_dtype)i), expected[i].size);
    }
    assert_int_equal(lh_safetensors_dtype_size(LH_SAFETENSORS_DTYPES), 0);
    assert_string_equal(lh_safetensors_dtype_name(LH_SAFETENSORS_DTYPES), "?");
}

/* ---- writing ---- */

static const float five[5] = {1, 2, 3, 4, 5};
static const unsigned char three[3] = {7, 8, 9};
static const double scalar = 0.1;
static const uint16_t halves[2] = {0x3C00, 0xC000};

static const lh_safetensors_tensor sample[] = {
    {.name = "bytes", .dtype = LH_SAFETENSORS_U8, .ndim = 1, .shape = {3}, .data = three},
    {.name = "floats \"quoted\" \xC3\xA4\n", .dtype = LH_SAFETENSORS_F32, .ndim = 2, .shape = {5, 1}, .data = five},
    {.name = "scalar", .dtype = LH_SAFETENSORS_F64, .ndim = 0, .data = &scalar},
    {.name = "nothing", .dtype = LH_SAFETENSORS_I64, .ndim = 8, .shape = {1, 2, 3, 0, 5, 6, 7, 8}},
    {.name = "halves", .dtype = LH_SAFETENSORS_BF16, .ndim = 1, .shape = {2}, .data = halves},
};
static const lh_safetensors_pair sample_metadata[] = {{"format", "pt"}, {"note", "a \\ \"b\" \t\x01"}};
#define SAMPLES (sizeof sample / sizeof sample[0])

static void writes_what_it_reads(void **state)
{
    (void)state;
    lh_error error = {0};
    assert_int_equal(lh_safetensors_write(in_folder("a"), sample, SAMPLES, sample_metadata, 2, &error), LH_OK);
    lh_safetensors *file = NULL;
    assert_int_equal(lh_safetensors_open(&file, in_folder("a"), &error), LH_OK);
    assert_int_equal(lh_safetensors_count(file), SAMPLES);
    /* Wide elements first, the given order within one width. */
    static const char *const order[] = {"scalar", "nothing", "floats \"quoted\" \xC3\xA4\n", "halves", "bytes"};
    for (size_t i = 0; i < SAMPLES; i++) {
        assert_string_equal(lh_safetensors_at(file, i)->name, order[i]);
    }
    for (size_t i = 0; i < SAMPLES; i++) {
        const lh_safetensors_tensor *found = lh_safetensors_find(file, sample[i].name);
        assert_non_null(found);
        assert_int_equal(found->dtype, sample[i].dtype);
        assert_int_equal(found->ndim, sample[i].ndim);
        assert_memory_equal(found->shape, sample[i].shape, sizeof found->shape);
        assert_int_equal((uintptr_t)found->data % lh_safetensors_dtype_size(found->dtype), 0);
        if (found->bytes) {
            assert_memory_equal(found->data, sample[i].data, found->bytes);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(lh_safetensors_metadata(file, sample_metadata[i].key), sample_metadata[i].value);
    }
    size_t header = 0;
    (void)lh_safetensors_header(file, &header);
    assert_int_equal(header % 8, 0);
    lh_safetensors_close(file);
}

static void refuses_to_write_nonsense(void **state)
{
    (void)state;
    lh_safetensors_tensor bad[2] = {sample[0], sample[0]};
    lh_error error = {0};
    assert_int_equal(lh_safetensors_write(in_folder("a"), bad, 2, NULL, 0, &error), LH_E_ARGUMENT);
    assert_says(&error, "two tensors are named 'bytes'");
    bad[0].name = "__metadata__";
    assert_int_equal(lh_safetensors_write(in_folder("a"), bad, 1, NULL, 0, NULL), LH_E_ARGUMENT);
    bad[0].name = "\xFF";
    assert_int_equal(lh_safetensors_write(in_folder("a"), bad, 1, NULL, 0, NULL), LH_E_ARGUMENT);
    bad[0] = sample[0];
    bad[0].data = NULL;
    assert_int_equal(lh_safetensors_write(in_folder("a"), bad, 1, NULL, 0, NULL), LH_E_ARGUMENT);
    bad[0] = sample[0];
    bad[0].shape[0] = -3;
    assert_int_equal(lh_safetensors_write(in_folder("a"), bad, 1, NULL, 0, NULL), LH_E_ARGUMENT);
    bad[0].shape[0] = 3;
    bad[0].ndim = 9;
    assert_int_equal(lh_safetensors_write(in_folder("a"), bad, 1, NULL, 0, NULL), LH_E_ARGUMENT);
    const lh_safetensors_pair twice[] = {{"k", "1"}, {"k", "2"}}, broken[] = {{"k", "\xFF"}};
    assert_int_equal(lh_safetensors_write(in_folder("a"), sample, 1, twice, 2, NULL), LH_E_ARGUMENT);
    assert_int_equal(lh_safetensors_write(in_folder("a"), sample, 1, broken, 1, NULL), LH_E_ARGUMENT);
    assert_int_equal(files_in_folder(), 0);
}

static void random_tensors_come_back(void **state)
{
    (void)state;
    lh_random random = lh_random_create(1, 2);
    static unsigned char data[8 * 4096];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)lh_random_u32(&random);
    }
    for (int round = 0; round < 30; round++) {
        lh_safetensors_tensor tensors[12];
        char names[12][24];
        size_t count = lh_random_below(&random, 13);
        for (size_t i = 0; i < count; i++) {
            tensors[i] = (lh_safetensors_tensor){.name = names[i], .data = data + 8 * lh_random_below(&random, 16)};
            (void)snprintf(names[i], sizeof names[i], "t%zu", i);
            tensors[i].dtype = (lh_safetensors_dtype)lh_random_below(&random, LH_SAFETENSORS_DTYPES);
            tensors[i].ndim = (int)lh_random_below(&random, 5);
            for (int d = 0; d < tensors[i].ndim; d++) {
                tensors[i].shape[d] = (int64_t)lh_random_below(&random, 8);
            }
        }
        assert_int_equal(lh_safetensors_write(in_folder("r"), tensors, count, NULL, 0, NULL), LH_OK);
        lh_safetensors *file = NULL;
        assert_int_equal(lh_safetensors_open(&file, in_folder("r"), NULL), LH_OK);
        assert_int_equal(lh_safetensors_count(file), count);
        for (size_t i = 0; i < count; i++) {
            const lh_safetensors_tensor *found = lh_safetensors_find(file, names[i]);
            assert_non_null(found);
            assert_int_equal((uintptr_t)found->data % lh_safetensors_dtype_size(found->dtype), 0);
            assert_memory_equal(found->data, tensors[i].data, found->bytes);
        }
        lh_safetensors_close(file);
    }
}

/* A second opinion on the written bytes: Python's json and struct, nothing of this project. */
static void python_reads_the_file(void **state)
{
    (void)state;
    if (system("python3 -c 'import json' 2>/dev/null") != 0) {
        print_message("skipped: python3 is not installed\n");
        skip();
    }
    assert_int_equal(lh_safetensors_write(in_folder("p"), sample, SAMPLES, sample_metadata, 2, NULL), LH_OK);
    put_file("check.py", "import json, struct, sys\n"
                         "raw = open(sys.argv[1], 'rb').read()\n"
                         "n = struct.unpack('<Q', raw[:8])[0]\n"
                         "head = json.loads(raw[8:8 + n].decode('utf-8'))\n"
                         "body = raw[8 + n:]\n"
                         "assert n % 8 == 0 and raw[8:9] == b'{'\n"
                         "meta = head.pop('__metadata__')\n"
                         "assert meta == {'format': 'pt', 'note': 'a \\\\ \"b\" \\t\\x01'}, meta\n"
                         "spans = sorted(tuple(t['data_offsets']) for t in head.values())\n"
                         "at = 0\n"
                         "for begin, end in spans:\n"
                         "    assert begin == at, spans\n"
                         "    at = end\n"
                         "assert at == len(body)\n"
                         "def get(name, dtype, shape, form):\n"
                         "    t = head[name]\n"
                         "    assert (t['dtype'], t['shape']) == (dtype, shape), t\n"
                         "    b, e = t['data_offsets']\n"
                         "    return struct.unpack('<' + form, body[b:e])\n"
                         "assert get('bytes', 'U8', [3], '3B') == (7, 8, 9)\n"
                         "assert get('floats \"quoted\" \\u00e4\\n', 'F32', [5, 1], '5f') == (1, 2, 3, 4, 5)\n"
                         "assert get('scalar', 'F64', [], 'd') == (0.1,)\n"
                         "assert get('nothing', 'I64', [1, 2, 3, 0, 5, 6, 7, 8], '') == ()\n"
                         "assert get('halves', 'BF16', [2], '2H') == (0x3C00, 0xC000)\n");
    char command[600];
    (void)snprintf(command, sizeof command, "python3 %s %s", in_folder("check.py"), in_folder("p"));
    assert_int_equal(system(command), 0);
}

/* ---- damage ---- */

/* Reads all that the handle offers, so that a sanitizer sees every byte touched. */
static unsigned touch(const lh_safetensors *file)
{
    unsigned sum = 0;
    for (size_t i = 0; i < lh_safetensors_count(file); i++) {
        const lh_safetensors_tensor *tensor = lh_safetensors_at(file, i);
        const unsigned char *data = tensor->data;
        for (size_t j = 0; j < tensor->bytes; j++) {
            sum += data[j];
        }
        sum += (unsigned)strlen(tensor->name);
        assert_ptr_equal(lh_safetensors_find(file, tensor->name), tensor);
    }
    for (size_t i = 0; i < lh_safetensors_metadata_count(file); i++) {
        sum += (unsigned)strlen(lh_safetensors_metadata_at(file, i).value);
    }
    return sum;
}

static void survives_truncation_everywhere(void **state)
{
    (void)state;
    char *whole = NULL;
    size_t size = 0;
    assert_int_equal(lh_safetensors_write(in_folder("t"), sample, SAMPLES, sample_metadata, 2, NULL), LH_OK);
    assert_int_equal(lh_file_read(in_folder("t"), 0, &whole, &size, NULL), LH_OK);
    for (size_t cut = 0; cut < size; cut++) {
        /* A block of exactly this size, so that a read past its end is seen. */
        char *part = malloc(cut ? cut : 1);
        memcpy(part, whole, cut);
        lh_safetensors *file = NULL;
        lh_error error = {0};
        assert_int_equal(lh_safetensors_open_memory(&file, "cut", part, cut, &error), LH_E_FORMAT);
        assert_null(file);
        assert_says(&error, "cut");
        free(part);
    }
    lh_heap_free(whole);
}

static void survives_every_flipped_bit(void **state)
{
    (void)state;
    char *whole = NULL;
    size_t size = 0, accepted = 0;
    assert_int_equal(lh_safetensors_write(in_folder("f"), sample, SAMPLES, sample_metadata, 2, NULL), LH_OK);
    assert_int_equal(lh_file_read(in_folder("f"), 0, &whole, &size, NULL), LH_OK);
    for (size_t bit = 0; bit < size * 8; bit++) {
        whole[bit / 8] ^= (char)(1 << bit % 8);
        lh_safetensors *file = NULL;
        lh_error error = {0};
        lh_status status = lh_safetensors_open_memory(&file, "flip", whole, size, &error);
        if (status == LH_OK) {
            (void)touch(file);
            accepted++;
        } else {
            assert_null(file);
            assert_true(error.message[0] != '\0');
        }
        lh_safetensors_close(file);
        whole[bit / 8] ^= (char)(1 << bit % 8);
    }
    /* The format has no checksum: flips of the data and of names go through, flips of the structure do not. */
    assert_in_range(accepted, 8 * (8 + 20 + 4 + 3), size * 8 - 64);
    lh_heap_free(whole);
}

static void full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    static double big[4096];
    const lh_safetensors_tensor tensor = {
        .name = "big", .dtype = LH_SAFETENSORS_F64, .ndim = 1, .shape = {4096}, .data = big};
    assert_int_equal(lh_safetensors_write(in_folder("d"), sample, SAMPLES, NULL, 0, NULL), LH_OK);
    for (rlim_t limit = 0; limit < sizeof big; limit += 4000) {
        lh_error error = {0};
        limit_files(limit);
        lh_status status = lh_safetensors_write(in_folder("d"), &tensor, 1, NULL, 0, &error);
        limit_files(RLIM_INFINITY);
        assert_int_equal(status, LH_E_IO);
        assert_says(&error, test_folder);
    }
    assert_int_equal(lh_safetensors_write("/dev/full", &tensor, 1, NULL, 0, NULL), LH_E_IO);
    lh_safetensors *file = NULL;
    assert_int_equal(lh_safetensors_open(&file, in_folder("d"), NULL), LH_OK);
    assert_int_equal(lh_safetensors_count(file), SAMPLES);
    lh_safetensors_close(file);
    assert_int_equal(files_in_folder(), 1);
}

static void survives_want_of_memory(void **state)
{
    (void)state;
    assert_int_equal(lh_safetensors_write(in_folder("m"), sample, SAMPLES, sample_metadata, 2, NULL), LH_OK);
    uint64_t live = lh_heap_live_bytes();
    lh_status status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_safetensors *file = NULL;
        lh_heap_fail_after(after);
        status = lh_safetensors_open(&file, in_folder("m"), NULL);
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        lh_safetensors_close(file);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
    status = LH_E_MEMORY;
    for (int64_t after = 0; status != LH_OK; after++) {
        lh_heap_fail_after(after);
        status = lh_safetensors_write(in_folder("m2"), sample, SAMPLES, sample_metadata, 2, NULL);
        lh_heap_fail_after(-1);
        assert_true(status == LH_OK || status == LH_E_MEMORY);
        assert_int_equal(lh_heap_live_bytes(), live);
    }
}

static void names_missing_files(void **state)
{
    (void)state;
    lh_safetensors *file = NULL;
    lh_error error = {0};
    assert_int_equal(lh_safetensors_open(&file, in_folder("none"), &error), LH_E_IO);
    assert_says(&error, "none");
    put_file("empty", "");
    error = (lh_error){0};
    assert_int_equal(lh_safetensors_open(&file, in_folder("empty"), &error), LH_E_FORMAT);
    assert_says(&error, "0 bytes");
}

/* The published int8 model of the data folder, unpacked: found in order, all bytes accounted for. */
static void reads_a_published_file(void **state)
{
    (void)state;
    const char *data = scratch_real_data();
    char command[600];
    (void)snprintf(command, sizeof command,
                   "xz -dc %s/lm-minimind2-small/model.int8.safetensors.xz >%s 2>/dev/null", data ? data : "none",
                   in_folder("model"));
    if (system(command) != 0) {
        print_message("skipped: no lm-minimind2-small in LH_DATA or ../shared/data\n");
        skip();
    }
    lh_safetensors *file = NULL;
    lh_error error = {0};
    assert_int_equal(lh_safetensors_open(&file, in_folder("model"), &error), LH_OK);
    assert_true(lh_safetensors_count(file) > 8);
    size_t header = 0, total = 8;
    (void)lh_safetensors_header(file, &header);
    for (size_t i = 0; i < lh_safetensors_count(file); i++) {
        total += lh_safetensors_at(file, i)->bytes;
    }
    struct stat about;
    assert_int_equal(stat(in_folder("model"), &about), 0);
    assert_int_equal(total + header, about.st_size);
    lh_safetensors_close(file);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_hand_made_file),
        cmocka_unit_test(reads_a_file_without_tensors),
        cmocka_unit_test(straightens_crooked_tensors),
        cmocka_unit_test(refuses_wrong_lengths),
        cmocka_unit_test(refuses_headers_that_do_not_add_up),
        cmocka_unit_test(offers_the_nearest_name),
        cmocka_unit_test(loads_only_what_is_expected),
        cmocka_unit_test(knows_its_dtypes),
        IN_FOLDER(writes_what_it_reads),
        IN_FOLDER(refuses_to_write_nonsense),
        IN_FOLDER(random_tensors_come_back),
        IN_FOLDER(python_reads_the_file),
        IN_FOLDER(survives_truncation_everywhere),
        IN_FOLDER(survives_every_flipped_bit),
        IN_FOLDER(full_disk_leaves_the_old_file),
        IN_FOLDER(survives_want_of_memory),
        IN_FOLDER(names_missing_files),
        IN_FOLDER(reads_a_published_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
