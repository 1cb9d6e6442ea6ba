// threads [--backend NAME] [--backend-dir DIR] CLIP_FOLDER PROMPT.safetensors N PICTURE...: names the pictures with N threads that share
// one model and one prompt, each with a session of its own; then once more with one thread, and says whether the numbers are the same
// (exit status 1 if not).  NAME is cpu or cuda, DIR where backends lie that are not installed.
#include <ammpl/ammpl.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

namespace
{

using rows = std::vector<std::vector<float>>;

// What a thread does: takes the next picture until none is left.  Decoding and preprocessing read the context and the model,
// which is allowed from any thread; only the session is the thread's own.
void classify(const ammpl::context &ctx, const ammpl::model &clip, const ammpl::prompt &prompt,
              const std::vector<std::string> &paths, std::atomic<std::size_t> &next, rows &logits,
              std::exception_ptr &failure)
{
    try {
        ammpl::session session = ammpl::session::create(clip);
        for (std::size_t i = next++; i < paths.size(); i = next++)
            logits[i] = session.predict(prompt, clip.preprocess(ammpl::image::load_file(ctx, paths[i])));
    } catch (...) {
        failure = std::current_exception();
        next = paths.size(); // the others stop too
    }
}

rows classify_with(std::size_t threads, const ammpl::context &ctx, const ammpl::model &clip,
                   const ammpl::prompt &prompt, const std::vector<std::string> &paths)
{
    rows logits(paths.size());
    std::atomic<std::size_t> next(0);
    std::vector<std::exception_ptr> failure(threads);
    std::vector<std::thread> thread;
    for (std::size_t k = 0; k < threads; k++)
        thread.emplace_back(classify, std::cref(ctx), std::cref(clip), std::cref(prompt), std::cref(paths),
                            std::ref(next), std::ref(logits), std::ref(failure[k]));
    for (std::thread &t : thread)
        t.join();
    for (const std::exception_ptr &f : failure)
        if (f)
            std::rethrow_exception(f);
    return logits;
}

struct choice {
    const char *backend, *folder; // folder: nullptr for where backends are installed
};

const ammpl_device *find_device(const ammpl::context &ctx, const choice &where)
{
    const ammpl_device *device = ammpl_device_find(ctx.get(), where.backend);
    if (device == nullptr && ammpl_context_scan_backends(ctx.get(), where.folder) >= 0)
        device = ammpl_device_find(ctx.get(), where.backend);
    if (device == nullptr)
        throw std::runtime_error(std::string("--backend ") + where.backend + ": " + ammpl_last_error());
    return device;
}

int run(const choice &where, const char *clip_path, const char *prompt_path, std::size_t threads,
        const std::vector<std::string> &paths)
{
    ammpl::context ctx = ammpl::context::create();
    ammpl::model clip = ammpl::model::load_file(ctx, clip_path, ammpl::config(), find_device(ctx, where));
    const ammpl::prompt prompt = ammpl::prompt::load_file(clip, prompt_path);
    const std::vector<std::string> names = prompt.class_names();
    const rows logits = classify_with(threads, ctx, clip, prompt, paths);
    for (std::size_t i = 0; i < paths.size(); i++) {
        auto best = std::max_element(logits[i].begin(), logits[i].end()) - logits[i].begin();
        std::printf("%s: %s\n", paths[i].c_str(), names[static_cast<std::size_t>(best)].c_str());
    }
    bool same = classify_with(1, ctx, clip, prompt, paths) == logits;
    std::printf("%zu threads and one give %s\n", threads, same ? "the same numbers" : "DIFFERENT numbers");
    return same ? 0 : 1;
}

} // namespace

int main(int argc, char **argv)
{
    choice where = {"cpu", nullptr};
    for (; argc > 2 && std::strncmp(argv[1], "--", 2) == 0; argc -= 2, argv += 2) {
        if (std::strcmp(argv[1], "--backend") == 0)
            where.backend = argv[2];
        else if (std::strcmp(argv[1], "--backend-dir") == 0)
            where.folder = argv[2];
        else
            break;
    }
    long threads = argc > 4 ? std::strtol(argv[3], nullptr, 10) : 0;
    if (threads < 1 || threads > 256) {
        std::fprintf(stderr, "usage: threads [--backend NAME] [--backend-dir DIR] CLIP_FOLDER PROMPT.safetensors N PICTURE...   "
                             "(N from 1 to 256)\n");
        return 2;
    }
    try {
        return run(where, argv[1], argv[2], static_cast<std::size_t>(threads),
                   std::vector<std::string>(argv + 4, argv + argc));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "threads: %s\n", e.what());
        return 1;
    }
}
