#include "report/page.h"

#include <stdio.h>

static const char style[] =
    "<style>\n:root{--ink:#1c1f24;--soft:#5d6673;--line:#e3e6ea;--card:#fff;--page:#f5f6f8;--accent:#2f6fb5}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--soft:#9aa3b0;--line:#30353c;--card:#1d2126;--page:#"
    "14171b}\n"
    "svg{filter:invert(.88) hue-rotate(180deg)}}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,sans-serif}\n"
    "main{max-width:860px;margin:0 auto;padding:32px 20px 64px}\nh1{font-size:26px;margin:0 0 "
    "4px}h2{font-size:18px;"
    "margin:0 0 12px}\n.sub{color:var(--soft);margin:0 0 24px}\nsection{background:var(--card);border:1px solid "
    "var(--line);border-radius:10px;padding:20px;margin:0 0 "
    "18px}\n.tiles{display:grid;grid-template-columns:repeat("
    "auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 18px}\n.tile{background:var(--card);border:1px solid "
    "var(--line);"
    "border-radius:10px;padding:14px 16px}\n.tile b{display:block;font-size:22px}.tile "
    "span{color:var(--soft);font-size:"
    "13px}\nsvg{width:100%;height:auto}\ntable{border-collapse:collapse;font-size:13px;font-variant-numeric:"
    "tabular-nums}"
    "\ntd,th{padding:3px 14px 3px 0;text-align:right;border-bottom:1px solid var(--line)}th{color:var(--soft);"
    "font-weight:500}\npre{white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 "
    "ui-monospace,monospace;margin:0}\n"
    ".given{color:var(--soft)}details{margin-top:10px}summary{cursor:pointer;color:var(--soft)}p{margin:0 0 10px}\n"
    "</style>\n";

void lh_page_escape(lh_string *out, const char *text)
{
    for (; text && *text; text++) {
        switch (*text) {
        case '&': lh_string_append(out, "&amp;", 5); break;
        case '<': lh_string_append(out, "&lt;", 4); break;
        case '>': lh_string_append(out, "&gt;", 4); break;
        case '"': lh_string_append(out, "&quot;", 6); break;
        default: lh_string_append(out, text, 1);
        }
    }
}

void lh_page_tile(lh_string *out, const char *label, const char *format, double value)
{
    char text[64];
    (void)snprintf(text, sizeof text, format, value);
    lh_string_print(out, "<div class=tile><b>%s</b><span>%s</span></div>\n", text, label);
}

void lh_page_begin(lh_string *out, const char *title, const char *head)
{
    lh_string_print(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
                         "content=\"width=device-width\"><title>");
    lh_page_escape(out, title);
    lh_string_print(out, "</title>\n%s%s</head><body><main>\n<h1>", style, head);
    lh_page_escape(out, title);
    lh_string_print(out, "</h1>\n");
}

void lh_page_end(lh_string *out)
{
    lh_string_print(out, "<p class=given>longhand %s</p></main></body></html>\n", lh_version());
}

lh_status lh_page_chart(lh_string *out, const lh_plot *plot, lh_error *error)
{
    lh_error fault = {0};
    lh_status status = lh_plot_svg(plot, out, &fault);
    if (status == LH_E_UNSUPPORTED) {
        lh_string_print(out, "<p class=given>No chart: gnuplot is not installed.</p>\n");
        return LH_OK;
    }
    return status == LH_OK ? LH_OK : lh_fail(error, status, "%s", fault.message);
}
