// Offers what this program computes itself to ggml's CPU backend.
//
// ggml asks each of its "extra buffer types" whether it wants to compute an operation. The one added here owns
// no buffers: it is never chosen to hold weights, and computes on what lies in ordinary memory.
// The declarations repeat ggml-backend-impl.h and ggml-cpu/traits.h of the pinned llama-cpp-sys-2, which does
// not install them.

#include <cstddef>
#include <vector>

struct ggml_tensor;
struct ggml_compute_params;
struct ggml_backend_buffer;
struct ggml_backend_device;
struct ggml_backend_buffer_type;
typedef struct ggml_backend_buffer * ggml_backend_buffer_t;
typedef struct ggml_backend_device * ggml_backend_dev_t;
typedef struct ggml_backend_buffer_type * ggml_backend_buffer_type_t;

struct ggml_backend_buffer_type_i {
    const char * (*get_name)(ggml_backend_buffer_type_t);
    ggml_backend_buffer_t (*alloc_buffer)(ggml_backend_buffer_type_t, size_t);
    ggml_backend_buffer_t (*alloc_buffer_n)(ggml_backend_buffer_type_t, struct ggml_tensor **, int);
    size_t (*get_alignment)(ggml_backend_buffer_type_t);
    size_t (*get_max_size)(ggml_backend_buffer_type_t);
    size_t (*get_alloc_size)(ggml_backend_buffer_type_t, const struct ggml_tensor *);
    size_t (*get_alloc_size_n)(ggml_backend_buffer_type_t, struct ggml_tensor **, int);
    bool (*is_host)(ggml_backend_buffer_type_t);
};

struct ggml_backend_buffer_type {
    struct ggml_backend_buffer_type_i iface;
    ggml_backend_dev_t device;
    void * context;
};

namespace ggml::cpu {
class tensor_traits {
  public:
    virtual ~tensor_traits();
    virtual bool work_size(int n_threads, const struct ggml_tensor * op, size_t & size) = 0;
    virtual bool compute_forward(struct ggml_compute_params * params, struct ggml_tensor * op) = 0;
};

class extra_buffer_type {
  public:
    virtual ~extra_buffer_type();
    virtual bool supports_op(ggml_backend_dev_t dev, const struct ggml_tensor * op) = 0;
    virtual tensor_traits * get_tensor_traits(const struct ggml_tensor * op) = 0;
};
}  // namespace ggml::cpu

std::vector<ggml_backend_buffer_type_t> & ggml_backend_cpu_get_extra_buffer_types();

extern "C" {
// In mod.rs.
bool amend_cpu_accepts(const struct ggml_tensor * op);
size_t amend_cpu_work_size(int n_threads, const struct ggml_tensor * op);
bool amend_cpu_compute(struct ggml_compute_params * params, struct ggml_tensor * op);
void amend_cpu_install(ggml_backend_dev_t cpu);
}

namespace {
class Operation final : public ggml::cpu::tensor_traits {
    bool work_size(int n_threads, const struct ggml_tensor * op, size_t & size) override {
        size = amend_cpu_work_size(n_threads, op);
        return true;
    }

    bool compute_forward(struct ggml_compute_params * params, struct ggml_tensor * op) override {
        return amend_cpu_compute(params, op);
    }
};

class Operations final : public ggml::cpu::extra_buffer_type {
    Operation operation;

    bool supports_op(ggml_backend_dev_t, const struct ggml_tensor *) override { return false; }

    ggml::cpu::tensor_traits * get_tensor_traits(const struct ggml_tensor * op) override {
        return amend_cpu_accepts(op) ? &operation : nullptr;
    }
};
}  // namespace

void amend_cpu_install(ggml_backend_dev_t cpu) {
    // Both live as long as ggml's list, that is to the end of the process.
    static Operations * operations = new Operations();
    static ggml_backend_buffer_type type = {
        /* .iface = */ {
            /* .get_name = */ [](ggml_backend_buffer_type_t) { return "amend"; },
            // Never asked for: nothing is supported in such a buffer, and ggml makes one of no bytes by itself.
            /* .alloc_buffer = */ [](ggml_backend_buffer_type_t, size_t) -> ggml_backend_buffer_t { return nullptr; },
            /* .alloc_buffer_n = */ nullptr,
            /* .get_alignment = */ [](ggml_backend_buffer_type_t) -> size_t { return 64; },
            /* .get_max_size = */ nullptr,
            /* .get_alloc_size = */ nullptr,
            /* .get_alloc_size_n = */ nullptr,
            /* .is_host = */ nullptr,
        },
        /* .device = */ cpu,
        /* .context = */ static_cast<ggml::cpu::extra_buffer_type *>(operations),
    };
    ggml_backend_cpu_get_extra_buffer_types().push_back(&type);
}
