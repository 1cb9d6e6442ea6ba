/* ammpl_tape.hpp - a part of ammpl.hpp, and included by it: the towers as differentiable functions. */
#ifndef AMMPL_TAPE_HPP
#define AMMPL_TAPE_HPP

#ifndef AMMPL_AMMPL_HPP
#error "include <ammpl/ammpl.hpp>"
#endif

namespace ammpl {

#ifdef AMMPL_NO_EXCEPTIONS
inline namespace statuses {
#else
inline namespace exceptions {
#endif

/* A pass through a tower, and its way back.  Arrays have the shapes that C's have and are checked against them. */
class tape : public handle<ammpl_tape, ammpl_tape_destroy> {
public:
    tape() noexcept : embed_(0), text_(0), image_(0), image_rows_(0), pixels_(0) {}
    static AMMPL_CHECKED result<tape> create(const model &m, const config &cfg = config())
    {
        tape made(m);
        ammpl_tape *raw = nullptr;
        ammpl_status status = ammpl_tape_create(m.get(), cfg.get(), &raw);
        made.reset(raw);
        return detail::give(status, std::move(made));
    }
    static AMMPL_CHECKED result<std::uint64_t> plan(const model &m, std::int32_t tower, std::size_t n, std::size_t rows,
                                                    std::int32_t record)
    {
        std::uint64_t bytes = 0;
        ammpl_status status = ammpl_tape_plan(m.get(), tower, n, rows, record, &bytes);
        return detail::give(status, bytes);
    }
    /* The input's pointers are C's, and so are the sizes that it says they have; struct_size is set here. */
    AMMPL_CHECKED ammpl_status begin_text(ammpl_text_input input)
    {
        input.struct_size = sizeof input;
        ammpl_status status = ammpl_tape_begin_text(get(), &input);
        if (status >= 0) {
            pass_ = pass_shape(input.n, text_, input.prefix_rows + input.L);
            pass_.rows = input.n * input.L * text_;
            pass_.prefix = input.prefix_rows * text_;
        }
        return detail::pass(status);
    }
    AMMPL_CHECKED ammpl_status begin_image(ammpl_image_input input)
    {
        input.struct_size = sizeof input;
        ammpl_status status = ammpl_tape_begin_image(get(), &input);
        if (status >= 0) {
            pass_ = pass_shape(input.n, image_, image_rows_);
            pass_.image = true;
            pass_.at = input.block;
            pass_.rows = input.n * image_rows_ * image_;
        }
        return detail::pass(status);
    }
    /* prompt [count, D], or [n, count, D] with per_sequence; empty: no slots from there on (images). */
    AMMPL_CHECKED ammpl_status insert(std::int32_t block, const std::vector<float> &prompt, bool per_sequence = false,
                                      bool before_ln = false)
    {
        std::size_t each = (per_sequence ? pass_.n : 1) * pass_.width;
        if (each != 0 && prompt.size() % each != 0)
            return detail::pass(detail::refuse_shape());
        std::size_t count = each == 0 ? 0 : prompt.size() / each;
        ammpl_status status = ammpl_tape_insert(get(), block, prompt.data(), count, per_sequence, before_ln);
        if (status >= 0)
            pass_.inserts.push_back(inserted{block, count, prompt.size()});
        return detail::pass(status);
    }
    AMMPL_CHECKED ammpl_status run(std::int32_t block)
    {
        ammpl_status status = ammpl_tape_run(get(), block);
        if (status >= 0)
            pass_.at = block;
        return detail::pass(status);
    }
    AMMPL_CHECKED result<std::vector<float>> tokens()
    {
        std::vector<float> out(pass_.n * (pass_.places + slots()) * pass_.width);
        ammpl_status status = ammpl_tape_tokens(get(), out.data(), out.size());
        return detail::give(status, std::move(out));
    }
    AMMPL_CHECKED result<std::vector<float>> finish()
    {
        std::vector<float> out(pass_.n * embed_);
        ammpl_status status = ammpl_tape_finish(get(), out.data(), out.size());
        return detail::give(status, std::move(out));
    }
    AMMPL_CHECKED ammpl_status seed(std::size_t read, const std::vector<float> &dtokens)
    {
        return detail::pass(ammpl_tape_seed(get(), read, dtokens.data(), dtokens.size()));
    }
    AMMPL_CHECKED ammpl_status backward(const std::vector<float> &dfeatures)
    {
        if (dfeatures.size() != pass_.n * embed_)
            return detail::pass(detail::refuse_shape());
        return detail::pass(ammpl_tape_backward(get(), dfeatures.data()));
    }
    /* From the seeds alone. */
    AMMPL_CHECKED ammpl_status backward() { return detail::pass(ammpl_tape_backward(get(), nullptr)); }
    AMMPL_CHECKED result<std::vector<float>> gradient(std::int32_t what, std::size_t index = 0)
    {
        std::size_t count = numbers(what, index);
        std::vector<float> out(count + 1); /* never NULL: C says what is not there */
        ammpl_status status = ammpl_tape_gradient(get(), what, index, out.data(), count);
        out.pop_back();
        return detail::give(status, std::move(out));
    }

private:
    struct inserted {
        std::int32_t block;
        std::size_t count, numbers;
    };
    /* What the pass was given, so that what comes out has room: places in a sequence (without the slots of images), block to be
     * run next, numbers in rows, prefix and inserts. */
    struct pass_shape {
        std::size_t n, width, places, rows, prefix;
        std::int32_t at;
        bool image;
        std::vector<inserted> inserts;
        explicit pass_shape(std::size_t sequences = 0, std::size_t D = 0, std::size_t length = 0)
            : n(sequences), width(D), places(length), rows(0), prefix(0), at(0), image(false)
        {
        }
    };
    explicit tape(const model &m)
        : embed_(m.embed_width()), text_(m.text_width()), image_(m.image_width()), image_rows_(m.image_rows()),
          pixels_(m.pixel_count())
    {
    }
    /* In a gradient; 0 where C is to say that there is none. */
    std::size_t numbers(std::int32_t what, std::size_t index) const
    {
        switch (what) {
        case AMMPL_GRADIENT_ROWS:
            return pass_.rows;
        case AMMPL_GRADIENT_PREFIX:
            return pass_.prefix;
        case AMMPL_GRADIENT_PIXELS:
            return pass_.n * pixels_;
        default:
            return what == AMMPL_GRADIENT_PROMPT && index < pass_.inserts.size() ? pass_.inserts[index].numbers : 0;
        }
    }
    /* Behind an image's patches, before the block to be run next: the last insert below it says how many. */
    std::size_t slots() const
    {
        const inserted *last = nullptr;
        for (std::size_t i = 0; i < pass_.inserts.size() && pass_.image; i++)
            if (pass_.inserts[i].block < pass_.at && (!last || pass_.inserts[i].block > last->block))
                last = &pass_.inserts[i];
        return last ? last->count : 0;
    }
    std::size_t embed_, text_, image_, image_rows_, pixels_;
    pass_shape pass_;
};

} // inline namespace
} // namespace ammpl

#endif /* AMMPL_TAPE_HPP */
