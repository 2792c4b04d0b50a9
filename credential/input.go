package credential

import (
	"fmt"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// maxInput is how many values a document may have that is taken from outside. Each costs
// its readers as much as some hundred bytes of text: a MiB of digits took half a second.
const maxInput = 10_000

// moreValuesThan reports whether JSON text has more members and elements than limit, at
// least as far as nobody has to know whether it is JSON.
func moreValuesThan(data []byte, limit int) bool {
	values, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == '[' || c == '{'):
			if values++; values > limit {
				return true
			}
		}
	}
	return false
}

// CheckInput reports whether document can be taken from outside as a credential: a
// JSON object within the limits, without [ReservedField] in any spelling, in which
// no key is there twice, since readers do not agree on which one counts. A store has
// to keep it as it is, so it is UTF-8, and [KeepsNumber] holds for its numbers. The
// error is an [ErrInvalid] that does not quote the document. Of what is deeper in the
// document [Schema.Check] says more.
func CheckInput(document []byte) error {
	if moreValuesThan(document, maxInput) {
		return fmt.Errorf("%w: more than %d values", ErrInvalid, maxInput)
	}
	if err := checkObject(document); err != nil {
		return err
	}
	if !utf8.Valid(document) {
		return fmt.Errorf("%w: not UTF-8", ErrInvalid)
	}
	object := gjson.ParseBytes(document)
	if !keepsNumbers(object) {
		return fmt.Errorf("%w: a number has more digits than are kept: make it a string", ErrInvalid)
	}
	var err error
	seen := make(map[string]struct{})
	object.ForEach(func(key, _ gjson.Result) bool {
		_, repeated := seen[key.Str]
		seen[key.Str] = struct{}{}
		switch {
		case key.Str == ReservedField:
			err = fmt.Errorf("%w: %s is reserved", ErrInvalid, ReservedField)
		case repeated:
			err = fmt.Errorf("%w: a key is there twice", ErrInvalid)
		}
		return err == nil
	})
	return err
}
