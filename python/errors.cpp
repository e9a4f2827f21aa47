// C++ exceptions -> Python: zeropoint.Error with the same code and place, KeyboardInterrupt where the user stopped it.
#include <string>

#include "binding.h"

namespace zeropoint::python {

void bind_errors(nb::module_&) {
  nb::register_exception_translator(
      [](const std::exception_ptr& pointer, void*) {
        try {
          std::rethrow_exception(pointer);
        } catch (const Error& error) {
          if (error.code == ErrorCode::kInterrupted) {
            PyErr_SetNone(PyExc_KeyboardInterrupt);
            return;
          }
          try {
            const nb::object type = nb::module_::import_("zeropoint._errors").attr("Error");
            const nb::object instance = type(std::string(name(error.code)), error.where, error.what());
            PyErr_SetObject(type.ptr(), instance.ptr());
          } catch (nb::python_error& failed) {
            failed.restore();
          }
        }
      },
      nullptr);
}

}  // namespace zeropoint::python
