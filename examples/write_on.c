/* Continues a text, prints it as it is written, and keeps the place in a file: the next call goes on from there.
 *
 *   cc write_on.c $(pkg-config --cflags --libs longhand) -o write_on
 *   ./write_on runs/book place.session "It was a"
 *   ./write_on runs/book place.session */
#include <longhand.h>

#include <stdio.h>
#include <string.h>

enum { TOKENS = 200 };

static bool print_piece(void *user, const longhand_piece *piece)
{
    FILE *out = user;
    fwrite(piece->text, 1, piece->text_size, out);
    fflush(out);
    return ferror(out) != 0; /* nobody listens any more: enough */
}

static bool file_exists(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file) {
        fclose(file);
    }
    return file != NULL;
}

static lh_status write_on(longhand_generator *generator, const char *place, const char *prompt, lh_error *error)
{
    lh_status status = LH_OK;
    if (file_exists(place)) {
        status = longhand_generator_restore(generator, place, false, error);
    }
    if (status == LH_OK && prompt) {
        fputs(prompt, stdout);
        status = longhand_generator_read(generator, prompt, strlen(prompt), error);
    }
    if (status == LH_OK) {
        status = longhand_generator_write(generator, TOKENS, print_piece, stdout, NULL, error);
    }
    if (status == LH_OK) {
        status = longhand_generator_save(generator, place, error);
    }
    return status;
}

int main(int argc, char **argv)
{
    lh_error error = {LH_OK, ""};
    longhand_model *model = NULL;
    longhand_session *session = NULL;
    longhand_generator *generator = NULL;
    longhand_generator_options options;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: write_on RUN PLACE [PROMPT]\n");
        return LH_E_ARGUMENT;
    }
    longhand_generator_defaults(&options, sizeof options);
    options.temperature = 0.8;
    options.top_p = 0.98;
    options.seed = 1;
    lh_status status = longhand_model_open(&model, argv[1], NULL, &error);
    if (status == LH_OK) {
        status = longhand_session_create(&session, model, 1, 0, &error);
    }
    if (status == LH_OK) {
        status = longhand_generator_create(&generator, session, &options, &error);
    }
    if (status == LH_OK) {
        status = write_on(generator, argv[2], argc == 4 ? argv[3] : NULL, &error);
    }
    longhand_generator_free(generator);
    longhand_session_free(session);
    longhand_model_free(model);
    if (status != LH_OK) {
        fprintf(stderr, "write_on: %s\n", error.message);
    }
    return status;
}
