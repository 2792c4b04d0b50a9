package credential

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// KeepsNumber reports whether a store keeps a JSON number as it is. Vault makes a
// float64 of each: 12345678901234567, an account's, comes back as that of another.
func KeepsNumber(text string) bool {
	if len(text) <= exactDigits && !strings.ContainsAny(text, "eE") {
		return true
	}
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && digits(text) == digits(strconv.FormatFloat(f, 'e', -1, 64))
}

// exactDigits is how many decimal digits a float64 has for certain (DBL_DIG). Most numbers
// have fewer, and a document may be full of them.
const exactDigits = 15

// digits are those of a number that count.
func digits(text string) string {
	count := make([]byte, 0, len(text))
	for i := range len(text) {
		switch c := text[i]; c {
		case 'e', 'E':
			return strings.Trim(string(count), "0")
		case '-', '.':
		default:
			count = append(count, c)
		}
	}
	return strings.Trim(string(count), "0")
}

// keepsNumbers reports whether a store keeps every number in value.
func keepsNumbers(value gjson.Result) bool {
	if value.Type == gjson.Number {
		return KeepsNumber(strings.TrimSpace(value.Raw))
	}
	keeps := true
	if value.IsObject() || value.IsArray() {
		value.ForEach(func(_, below gjson.Result) bool {
			keeps = keepsNumbers(below)
			return keeps
		})
	}
	return keeps
}
