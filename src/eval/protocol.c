#include "eval/protocol.h"

#include "base/text.h"

#include <string.h>

static const char *const names[] = {"stream",  "book",      "trunc",   "pack", "slide",
                                    "overlap", "chunkmean", "strided", "line"};
enum { KINDS = sizeof names / sizeof names[0] };

lh_status lh_protocol_find(const char *name, lh_protocol_kind *kind, lh_error *error)
{
    const char *bare = strncmp(name, "P-", 2) == 0 ? name + 2 : name;
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(bare, names[i]) == 0) {
            *kind = (lh_protocol_kind)i;
            return LH_OK;
        }
    }
    const char *near = lh_nearest_name(bare, names, KINDS);
    return lh_fail(error, LH_E_ARGUMENT,
                   "\"%s\" is no protocol%s%s%s; they are stream, book, trunc, pack, slide, overlap, chunkmean, "
                   "strided and line",
                   name, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

const char *lh_protocol_name(lh_protocol_kind kind)
{
    return (int)kind >= 0 && (int)kind < KINDS ? names[kind] : "unknown";
}

bool lh_protocol_has_windows(lh_protocol_kind kind)
{
    return kind != LH_PROTOCOL_STREAM && kind != LH_PROTOCOL_BOOK && kind != LH_PROTOCOL_TRUNC;
}

static bool takes_stride(lh_protocol_kind kind)
{
    return kind == LH_PROTOCOL_SLIDE || kind == LH_PROTOCOL_OVERLAP || kind == LH_PROTOCOL_CHUNKMEAN ||
           kind == LH_PROTOCOL_STRIDED;
}

lh_status lh_protocol_complete(lh_protocol *protocol, lh_error *error)
{
    lh_protocol *p = protocol;
    const char *name = lh_protocol_name(p->kind);
    if (p->window < 0 || p->stride < 0 || p->length < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "window, stride and length must not be negative");
    }
    if (p->window > 0 && !lh_protocol_has_windows(p->kind)) {
        return lh_fail(error, LH_E_ARGUMENT, "the protocol %s has no windows", name);
    }
    if (p->stride > 0 && !takes_stride(p->kind)) {
        return lh_fail(error, LH_E_ARGUMENT, "the protocol %s has no stride", name);
    }
    if ((p->length > 0) != (p->kind == LH_PROTOCOL_TRUNC)) {
        return lh_fail(error, LH_E_ARGUMENT,
                       p->length > 0 ? "only the protocol trunc takes a length, not %s"
                                     : "the protocol %s needs the length of a document",
                       name);
    }
    switch (p->kind) {
    case LH_PROTOCOL_PACK:
    case LH_PROTOCOL_LINE: p->window = p->window ? p->window : 8192; break;
    case LH_PROTOCOL_SLIDE:
        p->window = p->window ? p->window : 2048;
        p->stride = p->stride ? p->stride : p->window < 256 ? p->window : 256;
        break;
    case LH_PROTOCOL_OVERLAP:
        p->window = p->window ? p->window : 8192;
        p->stride = p->stride ? p->stride : p->window < 256 ? p->window : 256;
        break;
    case LH_PROTOCOL_CHUNKMEAN:
        p->stride = p->stride ? p->stride : 1024;
        p->window = p->window ? p->window : 4 * p->stride;
        break;
    case LH_PROTOCOL_STRIDED:
        p->window = p->window ? p->window : 2048;
        p->stride = p->stride ? p->stride : p->window < 512 ? p->window : 512;
        break;
    default: break;
    }
    if (takes_stride(p->kind) && p->stride > p->window) {
        return lh_fail(error, LH_E_ARGUMENT, "a stride of %lld leaves tokens out between windows of %lld",
                       (long long)p->stride, (long long)p->window);
    }
    if (lh_protocol_has_windows(p->kind) && (p->window < 2 || p->window > INT32_MAX / 4)) {
        return lh_fail(error, LH_E_ARGUMENT, "a window must have 2 tokens or more, not %lld", (long long)p->window);
    }
    return LH_OK;
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

uint64_t lh_protocol_window_count(const lh_protocol *protocol, uint64_t tokens)
{
    uint64_t w = (uint64_t)protocol->window, s = (uint64_t)protocol->stride;
    switch (protocol->kind) {
    case LH_PROTOCOL_PACK:
    case LH_PROTOCOL_LINE: return divide_up(tokens, w);
    case LH_PROTOCOL_SLIDE: return tokens == 0 ? 0 : tokens <= w ? 1 : 1 + divide_up(tokens - w, s);
    case LH_PROTOCOL_OVERLAP:
        /* The last start is dropped; a window of one token has nothing to score. */
        return tokens == 0 ? 0 : divide_up(tokens, s) - 1;
    case LH_PROTOCOL_STRIDED:
    case LH_PROTOCOL_CHUNKMEAN: return divide_up(tokens, s);
    default: return 0;
    }
}

bool lh_protocol_window(const lh_protocol *protocol, uint64_t tokens, uint64_t index, lh_window *window)
{
    uint64_t w = (uint64_t)protocol->window, s = (uint64_t)protocol->stride, end;
    if (index >= lh_protocol_window_count(protocol, tokens)) {
        return false;
    }
    switch (protocol->kind) {
    case LH_PROTOCOL_SLIDE:
        end = w + index * s < tokens ? w + index * s : tokens;
        window->start = index * s;
        window->count = end - index * s;
        window->scored = index == 0 ? window->count : end - (w + (index - 1) * s);
        return true;
    case LH_PROTOCOL_OVERLAP:
        end = index * s + w < tokens ? index * s + w : tokens;
        window->start = index * s;
        window->count = end - window->start;
        window->scored = window->count - 1;
        return true;
    case LH_PROTOCOL_CHUNKMEAN:
        end = (index + 1) * s < tokens ? (index + 1) * s : tokens;
        window->start = index * s > w - s ? index * s - (w - s) : 0;
        window->count = end - window->start;
        window->scored = end - index * s;
        return true;
    case LH_PROTOCOL_STRIDED: /* the last token of a window is a target only, so W inputs are W + 1 tokens */
        end = (index + 1) * s - (s - tokens % s) % s;
        window->start = end > w + 1 ? end - (w + 1) : 0;
        window->count = end - window->start;
        window->scored = index == 0 ? end : s;
        return true;
    default: /* rows */
        end = (index + 1) * w < tokens ? (index + 1) * w : tokens;
        window->start = index * w;
        window->count = window->scored = end - window->start;
        return true;
    }
}
