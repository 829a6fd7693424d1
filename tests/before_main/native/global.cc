// What C++ and C do before `main`: a table that a constructor fills, a registry, and a constructor with a priority.

#include <cstdint>
#include <string>
#include <vector>

namespace {

struct Table {
    std::uint32_t words[256];
    Table() {
        for (std::uint32_t i = 0; i < 256; i++) {
            std::uint32_t word = i;
            for (int bit = 0; bit < 8; bit++) word = word & 1 ? word >> 1 ^ 0xedb88320u : word >> 1;
            words[i] = word;
        }
    }
};

Table table;

std::vector<std::string> &plugins() {
    static std::vector<std::string> plugins;
    return plugins;
}

struct Plugin {
    explicit Plugin(const char *name) { plugins().push_back(name); }
};

Plugin one("one"), two("two");

std::uint32_t constructed;

__attribute__((constructor)) void plain_constructor() { constructed |= 1; }
__attribute__((constructor(65000))) void late_constructor() { constructed |= 2; }

}  // namespace

extern "C" std::uint32_t NAME(crc)(const std::uint8_t *bytes, std::size_t length) {
    std::uint32_t sum = ~0u;
    while (length--) sum = table.words[(sum ^ *bytes++) & 255] ^ sum >> 8;
    return ~sum;
}

extern "C" std::uint32_t NAME(plugins)() { return plugins().size(); }

extern "C" std::uint32_t NAME(constructed)() { return constructed; }
