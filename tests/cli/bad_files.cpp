#include "bad_files.h"

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "base/json.h"
#include "program.h"

namespace quire::test {
namespace {

namespace fs = std::filesystem;

// Both lengths must be equal, so that offsets in the rest of the file stay valid.
std::string replaced(std::string bytes, const std::string& from, const std::string& to) {
  const size_t at = bytes.find(from);
  if (at == std::string::npos || from.size() != to.size()) throw std::runtime_error("cannot replace " + from);
  return bytes.replace(at, from.size(), to);
}

// A GGUF string's bytes begin after four bytes of type and eight of length.
std::string with_value(std::string bytes, const std::string& key, const std::string& value) {
  const size_t at = bytes.find(key);
  if (at == std::string::npos) throw std::runtime_error("no key " + key);
  return bytes.replace(at + key.size() + 12, value.size(), value);
}

// The type follows the name, the number of dimensions (four bytes) and the dimensions (eight bytes each).
std::string with_tensor_type(std::string bytes, const std::string& tensor, size_t num_dimensions, char type) {
  const size_t at = bytes.find(tensor);
  if (at == std::string::npos) throw std::runtime_error("no tensor " + tensor);
  bytes[at + tensor.size() + 4 + 8 * num_dimensions] = type;
  return bytes;
}

void make_foreign_files(const fs::path& folder) {
  write_bytes(folder / "empty.gguf", "");
  write_bytes(folder / "text.gguf", "This is a text about models, not a model.\n");
  write_bytes(folder / "page.gguf", "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n");
  write_bytes(folder / "pointer.gguf",
              "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 4081004224\n");
  write_bytes(folder / "pytorch.bin",
              std::string("PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl", 26) + std::string(99, 'x'));
  write_bytes(folder / "pickle.bin", std::string("\x80\x02\x8a\x0al\xfc\x9c", 7) + std::string(99, 'x'));
  write_bytes(folder / "weights.safetensors", read_bytes(golden("llama2-mha/model.safetensors")));
  write_bytes(folder / "config.json", read_bytes(golden("llama2-mha/config.json")));
}

void make_gguf_files(const fs::path& folder) {
  const std::string good = read_bytes(golden("llama2-mha/model.gguf"));
  const auto write = [&](const char* name, const std::string& bytes) { write_bytes(folder / name, bytes); };
  const auto with_version = [&](const char* version) { return std::string(good).replace(4, 4, version, 4); };
  write("good.gguf", good);
  write("half.gguf", good.substr(0, good.size() / 2));
  write("header_only.gguf", good.substr(0, 300));
  write("version1.gguf", with_version("\x01\0\0\0"));
  write("version9.gguf", with_version("\x09\0\0\0"));
  write("big_endian.gguf", with_version("\0\0\0\x03"));
  write("lying_count.gguf", std::string(good).replace(8, 8, std::string(8, '\x7f')));
  write("unknown_architecture.gguf", with_value(good, "general.architecture", "zebra"));
  write("unreadable_type.gguf", with_tensor_type(good, "blk.0.ffn_norm.weight", 1, 19));
  write("unknown_type.gguf", with_tensor_type(good, "blk.0.ffn_norm.weight", 1, 99));
  write("missing_tensor.gguf", replaced(good, "blk.1.ffn_gate.weight", "blk.1.ffn_gote.weight"));
  write("missing_key.gguf", replaced(good, "llama.block_count", "llama.black_count"));
  write("no_tokenizer.gguf", replaced(good, "tokenizer.ggml.model", "tokenizer.ggml.modal"));
  write("unknown_tokenizer.gguf", with_value(good, "tokenizer.ggml.model", "zebra"));
  write("no_numbers.gguf", std::string(good).replace(good.size() - 4096, 4096, std::string(4096, '\xff')));
  fs::copy(golden("mixtral/model-00001-of-00002.gguf"), folder);
  fs::create_directory(folder / "second_part");
  fs::copy(golden("mixtral/model-00002-of-00002.gguf"), folder / "second_part");
}

// The golden directory with its configuration changed.
fs::path make_directory(const fs::path& folder, const char* name, const std::function<void(json::object&)>& change) {
  const fs::path path = folder / name;
  fs::create_directory(path);
  fs::copy(golden("llama2-mha/model.safetensors"), path);
  json::object config = json::parse(read_bytes(golden("llama2-mha/config.json"))).as_object();
  change(config);
  write_bytes(path / "config.json", json::serialize(config));
  return path;
}

void make_configurations(const fs::path& folder) {
  const auto with = [&](const char* name, const char* key, json::value value) {
    make_directory(folder, name, [&](json::object& config) { config[key] = std::move(value); });
  };
  fs::create_directory(folder / "empty_folder");
  write_bytes(make_directory(folder, "broken_config", [](json::object&) {}) / "config.json", "{\"hidden_size\": 32,,}");
  write_bytes(make_directory(folder, "array_config", [](json::object&) {}) / "config.json", "[1, 2, 3]");
  with("unknown_architecture", "architectures", json::array{"ZebraForCausalLM"});
  make_directory(folder, "no_architecture", [](json::object& config) {
    config.erase("architectures");
    config.erase("model_type");
  });
  with("unknown_quantization", "quantization_config", {{"quant_method", "exl2"}, {"bits", 4}});
  with("five_bits", "quantization_config", {{"quant_method", "gptq"}, {"bits", 5}});
  with("size_is_text", "hidden_size", "32");
  with("size_is_negative", "hidden_size", -32);
  with("size_is_huge", "num_hidden_layers", int64_t{1} << 60);
  with("odd_kv_heads", "num_key_value_heads", 3);
  with("unknown_activation", "hidden_act", "swish2");
  with("unknown_rope", "rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}});
  with("wrong_shape", "intermediate_size", 64);
  make_directory(folder, "missing_size", [](json::object& config) { config.erase("hidden_size"); });
}

void make_weights(const fs::path& folder) {
  const std::string good = read_bytes(golden("llama2-mha/model.safetensors"));
  const auto unchanged = [](json::object&) {};
  const auto with = [&](const char* name, const std::string& bytes) {
    write_bytes(make_directory(folder, name, unchanged) / "model.safetensors", bytes);
  };
  with("missing_tensor", replaced(good, "\"model.norm.weight\"", "\"model.nurm.weight\""));
  with("truncated_weights", good.substr(0, good.size() - 1000));
  with("pointer_weights", read_bytes(folder / "pointer.gguf"));
  with("unknown_dtype", replaced(good, "\"F32\"", "\"Q32\""));
  with("broken_header", replaced(good, "{\"__metadata__\"", "[\"__metadata__\""));
  const fs::path bare = make_directory(folder, "no_weights", unchanged);
  fs::remove(bare / "model.safetensors");
  const fs::path pickled = make_directory(folder, "pickled_weights", unchanged);
  fs::rename(pickled / "model.safetensors", pickled / "pytorch_model.bin");
  for (const char* name : {"missing_shard", "broken_index"}) {
    fs::copy(golden("llama-linear-sharded"), folder / name);
  }
  fs::remove(folder / "missing_shard/model-00002-of-00003.safetensors");
  write_bytes(folder / "broken_index/model.safetensors.index.json", "{\"weight_map\": []}");
}

// One token for each small letter, which is enough for the tests' prompts.
json::object small_tokenizer() {
  json::object vocabulary = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (char letter = 'a'; letter <= 'z'; ++letter) vocabulary[std::string(1, letter)] = 3 + letter - 'a';
  json::array added;
  for (const char* special : {"<unk>", "<s>", "</s>"}) {
    added.push_back({{"id", added.size()}, {"content", special}, {"special", true}, {"normalized", false}});
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"model", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"vocab", vocabulary}, {"merges", json::array()}}}};
}

void make_texts(const fs::path& folder) {
  const auto unchanged = [](json::object&) {};
  const std::string tokenizer = json::serialize(small_tokenizer());
  const auto with = [&](const char* name, const char* file, const std::string& content) {
    const fs::path path = make_directory(folder, name, unchanged);
    write_bytes(path / "tokenizer.json", tokenizer);
    write_bytes(path / file, content);
  };
  with("good", "tokenizer_config.json", "{}");
  make_directory(folder, "no_tokenizer", unchanged);
  with("broken_tokenizer", "tokenizer.json", "{\"model\": ");
  with("unknown_tokenizer", "tokenizer.json", R"({"model": {"type": "Zebra", "vocab": {}}})");
  with("larger_tokenizer", "tokenizer.json",
       read_bytes(fs::path(QUIRE_SOURCE_DIR) / "tests/data/tokenizers/llama3.json"));
  with("broken_template", "tokenizer_config.json", R"({"chat_template": "{% for message in messages %}no end"})");
  with("refusing_template", "tokenizer_config.json", R"({"chat_template": "{{ raise_exception('Only pictures!') }}"})");
  with("broken_generation", "generation_config.json", R"({"temperature": "hot"})");
}

}  // namespace

void make_bad_files(const fs::path& folder) {
  make_foreign_files(folder);
  make_gguf_files(folder);
  make_configurations(folder);
  make_weights(folder);
  make_texts(folder);
}

}  // namespace quire::test
