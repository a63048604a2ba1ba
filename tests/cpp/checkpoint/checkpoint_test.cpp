// Saved states come back, damaged files are refused, and a save that fails changes nothing.

#include "coregrad/checkpoint.h"

#include "coregrad/coregrad.h"

#include <gtest/gtest.h>

#include "checkpoint/file.h"
#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace coregrad {
namespace {

namespace fs = std::filesystem;
using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

/// A folder that goes with the test.
class Checkpoint : public testing::Test {
 protected:
  Checkpoint() {
    std::string name = (fs::temp_directory_path() / "coregrad_checkpoint_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    folder_ = name;
  }
  ~Checkpoint() override { fs::remove_all(folder_); }

  std::string path(const std::string& name = "state.rtch") const {
    return (folder_ / name).string();
  }

  static Bytes read(const std::string& path) {
    const FileBytes file = read_file(path, false);
    return {file.bytes.begin(), file.bytes.end()};
  }
  static void write(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  size_t files_in_folder() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }

  fs::path folder_;
};

Tensor row(std::initializer_list<float> values) {
  return from_vector(Floats(values), {static_cast<int64_t>(values.size())});
}

template <class Function>
std::string message_of(Function function) {
  try {
    function();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

bool same(const State& a, const State& b) {
  if (a.value.index() != b.value.index()) return false;
  const auto all = [](const State::List& x, const State::List& y) {
    return std::ranges::equal(x, y, same);
  };
  if (const auto* x = std::get_if<Tensor>(&a.value)) {
    const Tensor& y = std::get<Tensor>(b.value);
    return x->dtype() == y.dtype() && x->shape() == y.shape() &&
           x->to_vector<double>() == y.to_vector<double>();
  }
  if (const auto* x = std::get_if<double>(&a.value)) {
    const double y = std::get<double>(b.value);
    return std::isnan(*x) ? std::isnan(y) : *x == y && std::signbit(*x) == std::signbit(y);
  }
  if (const auto* x = std::get_if<State::List>(&a.value))
    return all(*x, std::get<State::List>(b.value));
  if (const auto* x = std::get_if<State::Tuple>(&a.value))
    return all(x->items, std::get<State::Tuple>(b.value).items);
  if (const auto* x = std::get_if<State::Dict>(&a.value)) {
    const auto& y = std::get<State::Dict>(b.value);
    return all(x->keys, y.keys) && all(x->values, y.values);
  }
  if (const auto* x = std::get_if<std::string>(&a.value))
    return *x == std::get<std::string>(b.value);
  if (const auto* x = std::get_if<int64_t>(&a.value)) return *x == std::get<int64_t>(b.value);
  if (const auto* x = std::get_if<bool>(&a.value)) return *x == std::get<bool>(b.value);
  return true;
}

/// Everything that a state can hold.
State rich_state() {
  State::List tensors;
  for (int i = 0; i < kNumDTypes; ++i)
    tensors.push_back({cast(row({0, 1, 1, 0, 1}), static_cast<DType>(i))});
  tensors.push_back({zeros({0, 3})});
  tensors.push_back({sum(row({1, 2}))});
  tensors.push_back({permute(reshape(arange(0, 6), {2, 3}), {1, 0})});
  State::List numbers = {{},
                         {true},
                         {false},
                         {int64_t{-5}},
                         {std::numeric_limits<int64_t>::min()},
                         {std::numeric_limits<int64_t>::max()},
                         {0.1},
                         {-0.0},
                         {std::numeric_limits<double>::denorm_min()},
                         {std::numeric_limits<double>::infinity()},
                         {std::numeric_limits<double>::quiet_NaN()},
                         {std::string("ein \"Text\"\n\xc3\xa4")}};
  State::Dict dict;
  dict.keys = {{std::string("tensors")}, {int64_t{7}}, {std::string("7")}, {std::string("")}};
  dict.values = {
      {tensors}, {numbers}, {State::Tuple{{{int64_t{1}}, {State::List{}}}}}, {State::Dict{}}};
  return {dict};
}

TEST_F(Checkpoint, GivesBackWhatWasSaved) {
  const State state = rich_state();
  save_checkpoint(path(), state);
  for (const bool mmap : {false, true}) EXPECT_TRUE(same(load_checkpoint(path(), {mmap}), state));
  EXPECT_TRUE(same(checkpoint_from_bytes(checkpoint_to_bytes(state)), state));
  EXPECT_EQ(read(path()), checkpoint_to_bytes(state));
  for (const State& small : {State{}, State{State::List{}}, State{row({1})}, State{int64_t{3}}}) {
    save_checkpoint(path(), small);
    EXPECT_TRUE(same(load_checkpoint(path()), small));
  }
  EXPECT_EQ(files_in_folder(), 1U);
}

TEST_F(Checkpoint, ReadsMemoryAsItLies) {
  Floats memory = {1, 2, 3, 4, 5, 6};
  const Tensor turned = from_memory(memory.data(), 24, DType::Float32, {3, 2}, {1, 3}, nullptr);
  save_state_dict(path(), {{"turned", turned}, {"pending", turned * 2.0}});
  const NamedTensors loaded = load_state_dict(path());
  EXPECT_EQ(loaded[0].second.to_vector<float>(), (Floats{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(loaded[1].second.to_vector<float>(), (Floats{2, 8, 4, 10, 6, 12}));
}

TEST_F(Checkpoint, MapsTensorsWithoutCopyingThem) {
  save_state_dict(path(), {{"a", row({1, 2, 3})}, {"b", zeros({4000})}});
  const NamedTensors loaded = load_state_dict(path(), {.mmap = true});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(loaded[1].second.data()) % 64, 0U);
  fs::remove(path());  // the pages stay
  EXPECT_EQ(loaded[0].second.to_vector<float>(), (Floats{1, 2, 3}));
  save_state_dict(path(), {{"a", row({9, 9, 9})}});
  EXPECT_EQ(loaded[0].second.to_vector<float>(), (Floats{1, 2, 3}));
}

// Every byte counts: one that is changed or missing is noticed.
TEST_F(Checkpoint, RefusesEveryFlipAndEveryCut) {
  const State state = {State::List{{row({1, 2, 3})}, {from_vector(Floats(700, 0.5f), {700})}}};
  const Bytes bytes = checkpoint_to_bytes(state);
  const auto loads = [&](std::span<const std::byte> changed) {
    try {
      return same(checkpoint_from_bytes(changed), state) ? 1 : -1;
    } catch (const CheckpointError&) {
      return 0;
    }
  };
  ASSERT_EQ(loads(bytes), 1);
  size_t harmless = 0;
  for (size_t i = 0; i < bytes.size(); ++i)
    for (const int bit : {0, 3, 7}) {
      Bytes changed = bytes;
      changed[i] ^= static_cast<std::byte>(1 << bit);
      const int result = loads(changed);
      ASSERT_NE(result, -1) << "byte " << i;
      harmless += result == 1;
    }
  // What fills up to the next tensor is nobody's.
  EXPECT_LT(harmless, 3 * (4096 + 64));
  for (size_t size = 0; size < bytes.size(); size += size < 500 ? 1 : 37)
    ASSERT_EQ(loads(std::span(bytes).first(size)), 0) << size;
  Bytes longer = bytes;
  longer.push_back({});
  EXPECT_EQ(loads(longer), 0);
}

TEST_F(Checkpoint, SaysWhatIsWrong) {
  const auto load = [&] { load_checkpoint(path()); };
  EXPECT_NE(message_of(load).find("No such file"), std::string::npos);
  write(path(), {});
  EXPECT_NE(message_of(load).find("no checkpoint"), std::string::npos);
  save_state_dict(path(), {{"weight", row({1, 2, 3})}});
  Bytes bytes = read(path());
  bytes[8] = std::byte{2};
  write(path(), bytes);
  EXPECT_NE(message_of(load).find("version 2 is not known"), std::string::npos);
  bytes[8] = std::byte{1};
  bytes.back() ^= std::byte{1};
  write(path(), bytes);
  EXPECT_NE(message_of(load).find("tensor weight is damaged"), std::string::npos);
  EXPECT_EQ(load_state_dict(path(), {.verify = false}).size(), 1U);
  EXPECT_NE(message_of([&] {
              save_checkpoint(path(), {State::Dict{{{0.5}}, {{}}}});
            }).find("neither text nor a whole number"),
            std::string::npos);
  EXPECT_NE(message_of([&] { save_checkpoint(path(), {std::string("\xff")}); }).find("UTF-8"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              save_checkpoint(path(),
                              {State::Dict{{{std::string("a")}, {std::string("a")}}, {{}, {}}}});
            }).find("twice"),
            std::string::npos);
  EXPECT_EQ(read(path()), bytes);  // what failed left it alone
}

TEST_F(Checkpoint, NamesWhatDoesNotFit) {
  const Tensor weight = zeros({2, 3}).realize(), bias = zeros({3}).realize();
  const NamedTensors targets = {{"weight", weight}, {"bias", bias}};
  assign_state_dict(targets, {{"bias", row({1, 2, 3})}, {"weight", ones({2, 3})}});
  EXPECT_EQ(bias.to_vector<float>(), (Floats{1, 2, 3}));
  const std::string why = message_of(
      [&] { assign_state_dict(targets, {{"weight", ones({3, 2})}, {"scale", row({1})}}); });
  EXPECT_EQ(why,
            "load_state_dict: missing [bias], unexpected [scale], different [weight: expected "
            "f32[2,3], got f32[3,2]]");
  EXPECT_EQ(weight.to_vector<float>(), Floats(6, 1));
}

TEST_F(Checkpoint, AFailedSaveLeavesNothingBehind) {
  save_state_dict(path(), {{"a", row({1})}});
  const Bytes before = read(path());
  const pid_t child = fork();
  if (child == 0) {
    // No file may be longer than that.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10000, 10000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save_state_dict(path(), {{"a", from_vector(Floats(9000, 1), {9000})}});
    } catch (const IoError&) {
      _exit(0);
    }
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read(path()), before);
  EXPECT_EQ(files_in_folder(), 1U);
  EXPECT_THROW(save_state_dict(path("nowhere/state.rtch"), {}), IoError);
}

TEST_F(Checkpoint, AKilledSaveLeavesTheOldOrTheNewFile) {
  const auto state = [](float value) {
    return NamedTensors{{"a", from_vector(Floats(200'000, value), {200'000})}};
  };
  save_state_dict(path(), state(0));
  for (int i = 0; i < 40; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (int k = 1;; ++k) save_state_dict(path(), state(static_cast<float>(k)));
    }
    usleep(static_cast<useconds_t>(200 + 997 * (i * 7 % 13)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const Floats values = load_state_dict(path())[0].second.to_vector<float>();
    EXPECT_EQ(values, Floats(200'000, values[0]));
  }
  EXPECT_LE(files_in_folder(), 3U);  // names that a rename was about to take
}

TEST_F(Checkpoint, SafeTensorsComeBack) {
  SafeTensors content;
  content.metadata = {{"format", "pt"}};
  for (int i = 0; i < kNumDTypes; ++i)
    content.tensors.emplace_back("t" + std::to_string(i),
                                 cast(row({0, 1, 1}), static_cast<DType>(i)));
  content.tensors.emplace_back("empty", zeros({2, 0}));
  content.tensors.emplace_back("scalar", sum(row({3, 4})));
  save_safetensors(path(), content);
  for (const bool mmap : {false, true}) {
    const SafeTensors loaded = load_safetensors(path(), {.mmap = mmap});
    EXPECT_EQ(loaded.metadata, content.metadata);
    ASSERT_EQ(loaded.tensors.size(), content.tensors.size());
    for (const auto& [name, tensor] : content.tensors) {
      const auto at = std::ranges::find(loaded.tensors, name, &NamedTensors::value_type::first);
      ASSERT_NE(at, loaded.tensors.end()) << name;
      EXPECT_TRUE(same({at->second}, {tensor})) << name;
    }
  }
  EXPECT_THROW(save_safetensors(path(), {{{"a", row({1})}, {"a", row({2})}}, {}}), ValueError);
}

TEST_F(Checkpoint, SafeTensorsThatAreNoneAreRefused) {
  const auto refusal = [&](const std::string& header, size_t payload) {
    const uint64_t length = header.size();
    std::string file(reinterpret_cast<const char*>(&length), sizeof length);
    file += header;
    file.resize(file.size() + payload, '\1');
    write(path(), std::as_bytes(std::span(file)));
    return message_of([&] { load_safetensors(path()); });
  };
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(refusal(good, 8), "nothing was thrown");
  EXPECT_EQ(refusal(good + "   ", 8), "nothing was thrown");
  const std::pair<std::string, size_t> bad[] = {
      {good, 7},
      {good, 9},
      {" " + good, 8},
      {good + "x", 8},
      {"", 0},
      {"[]", 0},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8},
      {R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8},
      {R"({"__metadata__":{"x":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8},
      {std::string(100'000, '['), 0},
      {R"({"a":)" + std::string(5000, '[') + std::string(5000, ']') + "}", 0},
  };
  for (const auto& [header, payload] : bad)
    EXPECT_NE(refusal(header, payload), "nothing was thrown") << header.substr(0, 80);
  const uint64_t lengths[] = {~uint64_t{0}, uint64_t{1} << 63, 100'000'001, 9};
  for (const uint64_t length : lengths) {
    write(path(), std::as_bytes(std::span(&length, 1)));
    EXPECT_THROW(load_safetensors(path()), CheckpointError) << length;
  }
}

}  // namespace
}  // namespace coregrad
