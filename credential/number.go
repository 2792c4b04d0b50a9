package credential

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// KeepsNumber reports whether a store keeps a JSON number as it is. Vault makes a
// float64 of each: 12345678901234567, an account's, comes back as that of another.
func KeepsNumber(text string) bool {
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && digits(text) == digits(strconv.FormatFloat(f, 'e', -1, 64))
}

// digits are those of a number that count.
func digits(text string) string {
	if exponent := strings.IndexAny(text, "eE"); exponent >= 0 {
		text = text[:exponent]
	}
	return strings.Trim(strings.NewReplacer("-", "", ".", "").Replace(text), "0")
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
