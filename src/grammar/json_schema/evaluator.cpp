#include "grammar/json_schema/evaluator.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace quire::schema {
namespace {

constexpr int kMaxProbes = 3;
constexpr size_t kMaxNestedSchemas = 200;  // of schemas that hold of one value
constexpr double kMaxCount = 1'000'000;

// Where a conjunction's emptiness is asked for while one of its schemas is being read, there is no answer.
struct Depth {
  explicit Depth(int& depth) : depth_(depth) { ++depth_; }
  ~Depth() { --depth_; }
  int& depth_;
};

}  // namespace

Evaluator::Evaluator(GrammarBuilder& grammar_builder, const JsonText& json_text, const json::value& root)
    : builder(grammar_builder),
      text(json_text),
      document(root),
      algebra(
          builder, text, terms, [this](const Conjunction& conjunction) { return is_empty(conjunction); },
          [this] { return document.pointer(*current_); }),
      current_(&root) {}

Values Evaluator::values(const Conjunction& conjunction) {
  Values all = algebra.all();
  for (const Term term : conjunction) {
    const Condition& condition = terms[term];
    Values one;
    switch (condition.kind) {
      case Condition::Kind::kSchema: one = schema_values(*condition.value); break;
      case Condition::Kind::kConstant: one = constant_values(*condition.value); break;
      case Condition::Kind::kAll: one = values(Conjunction(condition.all)); break;
    }
    all = term.holds ? algebra.intersect(all, one) : algebra.subtract(all, one);
  }
  return all;
}

const Values& Evaluator::schema_values(const json::value& schema) {
  const auto found = values_.find(&schema);
  if (found != values_.end()) return *found->second;
  builder.check_time();
  if (in_progress_.contains(&schema)) {
    if (num_probes_ > 0) throw EvaluationStopped();
    fail(ErrorCode::kInvalidArgument, "the JSON schema at {} refers to itself without an array or object between",
         document.pointer(schema));
  }
  if (in_progress_.size() > kMaxNestedSchemas) {
    fail(ErrorCode::kLimit, "the JSON schema at {} combines more than {} nested schemas", document.pointer(schema),
         kMaxNestedSchemas);
  }
  in_progress_.insert(&schema);
  struct Leave {
    ~Leave() {
      evaluator.in_progress_.erase(evaluator.current_);
      evaluator.current_ = outer;
    }
    Evaluator& evaluator;
    const json::value* outer;
  } const leave{*this, std::exchange(current_, &schema)};
  return *values_.emplace(&schema, std::make_unique<const Values>(evaluate(schema))).first->second;
}

Values Evaluator::evaluate(const json::value& schema) {
  if (schema.is_bool()) return schema.get_bool() ? algebra.all() : algebra.none();
  if (!schema.is_object()) {
    fail(ErrorCode::kInvalidArgument, "the JSON schema is wrong at {}: it should be an object or a bool, found {}",
         document.pointer(schema), printable(json::serialize(schema), 60));
  }
  if (!document.reads_beside_ref() && document.find(schema, "$ref") != nullptr) {
    return schema_values(document.resolve(schema, "$ref"));
  }
  Values values = read_types(*this, schema);
  Values shapes = algebra.all();
  shapes.numbers = read_numbers(*this, schema);
  shapes.strings = read_strings(*this, schema);
  shapes.arrays = {read_arrays(*this, schema)};
  shapes.objects = read_objects(*this, schema);
  return combine(*this, schema, algebra.intersect(values, shapes));
}

Values Evaluator::constant_values(const json::value& constant) {
  Values values = algebra.none();
  if (constant.is_null()) {
    values.has_null = true;
  } else if (constant.is_bool()) {
    (constant.get_bool() ? values.has_true : values.has_false) = true;
  } else if (constant.is_number()) {
    values.numbers = constant_number(*this, constant);
  } else if (constant.is_string()) {
    values.strings = {.texts = builder.literal(std::string_view(constant.get_string()))};
  } else if (const json::array* array = constant.if_array()) {
    ArrayShape shape{.rest = terms.never()};
    for (const json::value& item : *array) shape.prefix.push_back(terms.constant(item));
    shape.min = shape.max = static_cast<int64_t>(array->size());
    values.arrays.push_back(std::move(shape));
  } else {
    ObjectShape shape;
    for (const auto& member : constant.get_object()) {
      shape.named.push_back({member.key(), terms.constant(member.value())});
      shape.required.insert(member.key());
    }
    values.objects.push_back(std::move(shape));
  }
  return values;
}

bool Evaluator::is_empty(const Conjunction& conjunction) {
  if (conjunction.empty() || quire::schema::is_never(conjunction)) return !conjunction.empty();
  const auto known = emptiness_.find(conjunction);
  if (known != emptiness_.end()) return known->second;
  if (num_probes_ == kMaxProbes) return false;
  builder.check_time();
  const Depth depth(num_probes_);
  try {
    const bool is_empty = algebra.is_empty(values(conjunction));
    // A deeper look may find more.
    if (is_empty || num_probes_ == 1) emptiness_.emplace(conjunction, is_empty);
    return is_empty;
  } catch (const EvaluationStopped&) {
    return false;
  }
}

Conjunction Evaluator::subschema(const json::value& schema, std::string_view keyword, const json::value& value) {
  if (!value.is_object() && !value.is_bool()) document.wrong(schema, keyword, "a schema is an object or a bool");
  return terms.schema(value);
}

const json::array* Evaluator::list(const json::value& schema, std::string_view keyword) {
  const json::value* value = document.find(schema, keyword);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) document.wrong(schema, keyword, "it should be a list");
  return &value->get_array();
}

const json::object* Evaluator::map(const json::value& schema, std::string_view keyword) {
  const json::value* value = document.find(schema, keyword);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) document.wrong(schema, keyword, "it should be an object");
  return &value->get_object();
}

std::optional<int64_t> Evaluator::count(const json::value& schema, std::string_view keyword) {
  const json::value* value = document.find(schema, keyword);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->to_number<double>() : -1;
  if (number < 0 || std::floor(number) != number) document.wrong(schema, keyword, "it should be a whole number from 0");
  const bool is_maximum = keyword.starts_with("max");
  if (number <= kMaxCount) return static_cast<int64_t>(number);
  if (is_maximum) return std::nullopt;
  fail(ErrorCode::kLimit, "the JSON schema asks at {} for {} of at least {:.0f}; up to {:.0f} is supported",
       document.pointer(schema), keyword, number, kMaxCount);
}

}  // namespace quire::schema
