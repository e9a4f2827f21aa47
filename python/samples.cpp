#include "samples.h"

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "binding.h"
#include "feeds.h"
#include "waiting.h"
#include "zeropoint/data.h"

namespace zeropoint::python {
namespace {

// The feeds of one sample, with the types and shapes that the inputs want, or Error kBadSample.
Feeds fit(Feeds feeds, const std::vector<ValueInfo>& inputs, const std::string& where) {
  for (const auto& [name, tensor] : feeds) {
    bool known = false;
    for (const ValueInfo& input : inputs) known = known || input.name == name;
    if (!known) throw Error(ErrorCode::kBadSample, where, "the model has no input '" + name + "'");
  }
  for (const ValueInfo& input : inputs) {
    const auto given = feeds.find(input.name);
    if (given == feeds.end()) throw Error(ErrorCode::kBadSample, where, "input '" + input.name + "' is missing");
    given->second = fit_input(std::move(given->second), input, where);
  }
  return feeds;
}

std::string place(std::size_t index) { return "sample " + std::to_string(index); }

}  // namespace

class SampleSource::Sequence final : public Samples {
 public:
  Sequence(nb::object sequence, std::vector<ValueInfo> inputs, std::shared_ptr<Failure> failure)
      : sequence_(std::move(sequence)), inputs_(std::move(inputs)), failure_(std::move(failure)), size_(nb::len(sequence_)) {}
  ~Sequence() override {
    nb::gil_scoped_acquire gil;
    sequence_.reset();
  }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  std::size_t size() const override { return size_; }
  Feeds get(std::size_t index) const override {
    const std::string where = place(index);
    Feeds feeds;
    {
      nb::gil_scoped_acquire gil;
      try {
        feeds = to_feeds(nb::object(sequence_[index]), nullptr, where + ", ");
      } catch (const Error&) {
        throw;
      } catch (const std::exception& error) {  // Python's own
        const std::lock_guard lock(failure_->mutex);
        if (!failure_->first) failure_->first = std::current_exception();
        throw Error(ErrorCode::kBadSample, where, error.what());
      }
    }
    return fit(std::move(feeds), inputs_, where);
  }

 private:
  nb::object sequence_;
  std::vector<ValueInfo> inputs_;
  std::shared_ptr<Failure> failure_;
  std::size_t size_;
};

class SampleSource::Labelled final : public Samples {
 public:
  Labelled(std::shared_ptr<const Samples> samples, std::vector<std::int64_t> labels)
      : samples_(std::move(samples)), labels_(std::move(labels)) {
    if (labels_.size() != samples_->size())
      throw Error(ErrorCode::kBadArgument, "labels", fmt::format("{} for {} samples", labels_.size(), samples_->size()));
  }
  std::size_t size() const override { return samples_->size(); }
  Feeds get(std::size_t index) const override { return samples_->get(index); }
  std::string describe(std::size_t index) const override { return samples_->describe(index); }
  std::optional<std::int64_t> label(std::size_t index) const override { return labels_.at(index); }

 private:
  std::shared_ptr<const Samples> samples_;
  std::vector<std::int64_t> labels_;
};

SampleSource::SampleSource(nb::handle source, const std::vector<ValueInfo>& inputs,
                           const std::optional<std::vector<std::int64_t>>& labels) {
  if (nb::isinstance<OpenedSamples>(source)) {
    samples_ = nb::cast<OpenedSamples>(source).samples;
  } else if (nb::isinstance<nb::str>(source) || nb::hasattr(source, "__fspath__")) {
    samples_ = open_samples(to_path(source), inputs);
  } else if (nb::hasattr(source, "keys")) {
    throw nb::type_error("samples are many: a list of {input name: array}, not one mapping; write [sample]");
  } else if (nb::hasattr(source, "__len__") && nb::hasattr(source, "__getitem__")) {
    samples_ = std::make_shared<Sequence>(nb::borrow(source), inputs, failure_);
  } else {
    std::vector<Feeds> all;
    for (nb::handle item : nb::iter(source)) all.push_back(to_feeds(item, nullptr, place(all.size()) + ", "));
    samples_ = memory_samples(std::move(all), inputs);
  }
  if (labels) samples_ = std::make_shared<Labelled>(samples_, *labels);
}

void SampleSource::run(Watch& watch, const std::function<void()>& work) {
  try {
    watch.run(work);
  } catch (const Error&) {
    rethrow_failure();
    throw;
  }
}

void SampleSource::rethrow_failure() {
  if (failure_->first) std::rethrow_exception(std::exchange(failure_->first, nullptr));
}

void bind_samples(nb::module_& m) {
  nb::class_<OpenedSamples>(m, "Samples", "Samples on disk, read when asked for: len() and indexing give {input name: array}.")
      .def("__len__", [](const OpenedSamples& self) { return self.samples->size(); })
      .def(
          "__getitem__",
          [](const OpenedSamples& self, std::int64_t index) {
            const auto size = static_cast<std::int64_t>(self.samples->size());
            if (index < -size || index >= size) throw nb::index_error(fmt::format("sample {} of {}", index, size).c_str());
            const auto place = static_cast<std::size_t>(index < 0 ? index + size : index);
            Feeds feeds;
            {
              nb::gil_scoped_release release;
              feeds = self.samples->get(place);
            }
            return to_arrays(feeds);
          },
          nb::arg("index"), nb::sig("def __getitem__(self, index: int, /) -> dict[str, numpy.ndarray]"))
      .def_prop_ro(
          "labels",
          [](const OpenedSamples& self) {
            std::vector<std::optional<std::int64_t>> labels;
            for (std::size_t i = 0; i < self.samples->size(); ++i) labels.push_back(self.samples->label(i));
            return labels;
          },
          "The class of each sample; None where none is known.")
      .def(
          "describe", [](const OpenedSamples& self, std::size_t index) { return self.samples->describe(index); },
          nb::arg("index"), "The file that a sample comes from.")
      .def("__repr__", [](const OpenedSamples& self) { return fmt::format("<zeropoint.Samples: {}>", self.samples->size()); });

  m.def(
      "open_samples",
      [](nb::handle path, nb::handle model, std::optional<nb::object> preprocess, std::optional<nb::object> labels) {
        const Model loaded = model_from(model);
        DataOptions options;
        if (preprocess) options.preprocess = to_path(*preprocess);
        if (labels) options.labels = to_path(*labels);
        const std::filesystem::path from = to_path(path);
        nb::gil_scoped_release release;
        return OpenedSamples{open_samples(from, loaded.graph->inputs, options)};
      },
      nb::arg("path"), nb::arg("model"), nb::kw_only(), nb::arg("preprocess") = nb::none(), nb::arg("labels") = nb::none(),
      nb::sig(
          "def open_samples(path: str | os.PathLike[str], model: str | os.PathLike[str] | bytes | Model, *, preprocess: str | "
          "os.PathLike[str] | None = None, labels: str | os.PathLike[str] | None = None) -> Samples"),
      "Samples for a model: a folder of .npy or .npz files (one a sample), of pictures with a preprocess.json, or one .npy or "
      ".npz "
      "whose arrays count samples along their first axis. preprocess, labels: files to use in place of the folder's own.");
}

}  // namespace zeropoint::python
