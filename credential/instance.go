package credential

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// instanceOf returns c as the values that its schema is asked about. The error is a
// [SchemaError]: with a key that is there twice a path could find another value than
// the one that was checked.
func instanceOf(c *Credential) (any, error) {
	r := instanceReader{}
	value := r.read(gjson.ParseBytes(c.JSON()))
	if r.repeated != nil {
		location, _ := tell(r.repeated)
		return nil, &SchemaError{Location: location, Rule: "uniqueKeys"}
	}
	return value, nil
}

type instanceReader struct {
	at       []string
	repeated []string // the first key that is there twice
}

func (r *instanceReader) read(value gjson.Result) any {
	switch value.Type {
	case gjson.String:
		return value.Str
	case gjson.Number:
		return numberOf(strings.TrimSpace(value.Raw))
	case gjson.True:
		return true
	case gjson.False:
		return false
	case gjson.Null:
		return nil
	}
	if value.IsArray() {
		items := []any{}
		value.ForEach(func(_, item gjson.Result) bool {
			items = append(items, r.below(strconv.Itoa(len(items)), item))
			return r.repeated == nil
		})
		return items
	}
	members := map[string]any{}
	value.ForEach(func(key, member gjson.Result) bool {
		if _, repeated := members[key.Str]; repeated && r.repeated == nil {
			r.repeated = append(slices.Clone(r.at), key.Str)
		}
		members[key.Str] = r.below(key.Str, member)
		return r.repeated == nil
	})
	return members
}

func (r *instanceReader) below(key string, value gjson.Result) any {
	r.at = append(r.at, key)
	defer func() { r.at = r.at[:len(r.at)-1] }()
	return r.read(value)
}

// maxNumber bounds the characters and the exponent of a number that is compared
// exactly. Nine characters of JSON can stand for a million digits.
const maxNumber = 400

func numberOf(text string) any {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if exponent, err := strconv.Atoi(text[i+1:]); err != nil || max(exponent, -exponent) > maxNumber {
			return nearest(text)
		}
	}
	if len(text) > maxNumber {
		return nearest(text)
	}
	return json.Number(text)
}

func nearest(text string) float64 {
	f, _ := strconv.ParseFloat(text, 64) // infinite if it is out of range
	return min(max(f, -math.MaxFloat64), math.MaxFloat64)
}
