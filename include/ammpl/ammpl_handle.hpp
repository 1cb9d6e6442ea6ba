/* ammpl_handle.hpp - what ammpl.hpp is made of, and included by it: results, errors, and the owner of one object. */
#ifndef AMMPL_HANDLE_HPP
#define AMMPL_HANDLE_HPP

#include <ammpl/ammpl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(AMMPL_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(__EXCEPTIONS)
#define AMMPL_NO_EXCEPTIONS
#endif
#ifndef AMMPL_NO_EXCEPTIONS
#include <exception>
#include <stdexcept>
#endif

namespace ammpl {

/* Two namespaces, so that a program may hold files of both forms. */
#ifdef AMMPL_NO_EXCEPTIONS
inline namespace statuses {
#define AMMPL_CHECKED AMMPL_NODISCARD

/* A value, or the status that says why there is none (ammpl_last_error() has the sentence, until the thread's next call). */
template <class T> class result {
public:
    result(ammpl_status status, T &&value) : status_(status), value_(std::move(value)) {}
    explicit operator bool() const noexcept { return status_ >= 0; }
    ammpl_status status() const noexcept { return status_; }
    T &operator*() noexcept { return value_; } /* empty where there is none */
    const T &operator*() const noexcept { return value_; }
    T *operator->() noexcept { return &value_; }
    const T *operator->() const noexcept { return &value_; }

private:
    ammpl_status status_;
    T value_;
};
#else
inline namespace exceptions {
#define AMMPL_CHECKED
template <class T> using result = T;

class error : public std::runtime_error {
public:
    explicit error(ammpl_status status)
        : std::runtime_error(*ammpl_last_error() ? ammpl_last_error() : ammpl_status_string(status)), status_(status)
    {
    }
    ammpl_status status() const noexcept { return status_; }

private:
    ammpl_status status_;
};
#endif

namespace detail {

inline ammpl_status pass(ammpl_status status)
{
#ifndef AMMPL_NO_EXCEPTIONS
    if (status < 0)
        throw error(status);
#endif
    return status;
}

template <class T> result<T> give(ammpl_status status, T value)
{
#ifdef AMMPL_NO_EXCEPTIONS
    return result<T>(status, std::move(value));
#else
    pass(status);
    return value;
#endif
}

/* What the C function could not tell from its arguments: an array of another size than its shape.  Its sentence is the status's. */
inline ammpl_status refuse_shape()
{
    (void)ammpl_method_describe(0, nullptr, nullptr, nullptr); /* succeeds, so that no other call's sentence is left */
    return AMMPL_E_SHAPE;
}

inline std::vector<const char *> pointers(const std::vector<std::string> &strings)
{
    std::vector<const char *> list;
    for (std::size_t i = 0; i < strings.size(); i++)
        list.push_back(strings[i].c_str());
    return list;
}

/* A C++ callable as an ammpl_progress_fn.  What it throws stops the run and is thrown again behind it. */
template <class F> struct progress_call {
    F &fn;
#ifdef AMMPL_NO_EXCEPTIONS
    static std::int32_t run(void *user, const ammpl_progress *progress)
    {
        return static_cast<progress_call *>(user)->fn(*progress) ? 1 : 0;
    }
    ammpl_status finish(ammpl_status status) { return status; }
#else
    std::exception_ptr thrown;
    static std::int32_t run(void *user, const ammpl_progress *progress) noexcept
    {
        progress_call *self = static_cast<progress_call *>(user);
        try {
            return self->fn(*progress) ? 1 : 0;
        } catch (...) {
            self->thrown = std::current_exception();
            return 1;
        }
    }
    ammpl_status finish(ammpl_status status)
    {
        if (thrown)
            std::rethrow_exception(thrown);
        return pass(status);
    }
#endif
    explicit progress_call(F &callable) : fn(callable) {}
};

} // namespace detail

/* The owner of one object: moved, never copied. */
template <class T, void (*Destroy)(T *)> class handle {
public:
    handle() noexcept : pointer_(nullptr) {}
    explicit handle(T *pointer) noexcept : pointer_(pointer) {}
    handle(handle &&other) noexcept : pointer_(other.release()) {}
    handle &operator=(handle &&other) noexcept
    {
        reset(other.release());
        return *this;
    }
    ~handle() { Destroy(pointer_); }
    T *get() const noexcept { return pointer_; }
    explicit operator bool() const noexcept { return pointer_ != nullptr; }
    /* The caller's to destroy from now on. */
    T *release() noexcept
    {
        T *pointer = pointer_;
        pointer_ = nullptr;
        return pointer;
    }
    void reset(T *pointer = nullptr) noexcept
    {
        T *old = pointer_;
        pointer_ = pointer;
        if (old != pointer)
            Destroy(old);
    }

private:
    T *pointer_;
};

} // inline namespace
} // namespace ammpl

#endif /* AMMPL_HANDLE_HPP */
