#include "feeds.h"

#include <string>

#include "arrays.h"

namespace zeropoint::python {

Feeds to_feeds(nb::handle mapping, const std::vector<ValueInfo>* inputs, const std::string& where) {
  if (!nb::hasattr(mapping, "items"))
    throw nb::type_error((where + "feeds are a mapping {input name: array}, not " +
                          nb::cast<std::string>(nb::str(nb::type_name(mapping.type()))))
                             .c_str());
  Feeds feeds;
  const auto add = [&](nb::handle key, nb::handle array) {
    if (!nb::isinstance<nb::str>(key)) throw nb::type_error((where + "the keys of feeds are names of inputs").c_str());
    const auto name = nb::cast<std::string>(key);
    std::optional<DType> wanted;
    if (inputs != nullptr)
      for (const ValueInfo& input : *inputs)
        if (input.name == name && input.type.dtype != DType::undefined) wanted = input.type.dtype;
    feeds.emplace(name, to_tensor(array, where + "input '" + name + "'", wanted));
  };
  if (PyDict_CheckExact(mapping.ptr()) != 0) {
    // Converting an array may run Python code: an owned list keeps what it might take out of the dict.
    for (nb::handle item : nb::borrow<nb::dict>(mapping).items()) add(item[0], item[1]);
  } else {
    for (nb::handle item : mapping.attr("items")()) add(item[0], item[1]);
  }
  return feeds;
}

nb::dict to_arrays(const Feeds& feeds) {
  nb::dict arrays;
  for (const auto& [name, tensor] : feeds) arrays[name.c_str()] = to_array(tensor);
  return arrays;
}

}  // namespace zeropoint::python
