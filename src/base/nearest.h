// What somebody meant who made a typing error.
#pragma once

#include <span>
#include <string>

namespace zeropoint {

// The name with the least letters to insert, drop or change (Levenshtein's distance), the first of equals; empty when all are
// farther than half of the word.
std::string nearest(const std::string& word, std::span<const std::string> names);

}  // namespace zeropoint
