package fields

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

const (
	// MaxToken leaves room for "Bearer " and the like in a header's value.
	MaxToken = template.MaxLength - 1<<10

	// MaxLifetime is the longest lifetime of a token that is believed.
	MaxLifetime = 10 * 365 * 24 * time.Hour
)

// TokenError returns what is wrong with a token, "" if nothing is.
func TokenError(is gjson.Type, token string) string {
	switch {
	case is != gjson.String:
		return "is missing or not a string"
	case !IsVisible(token):
		return "is empty or not visible ASCII"
	case len(token) > MaxToken:
		return fmt.Sprintf("is longer than %d bytes", MaxToken)
	}
	return ""
}

// IsVisible reports whether s is one or more visible ASCII characters, which is
// what tokens are made of (RFC 6749 appendix A).
func IsVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// Lifetime takes what token endpoints send for a number of units: integers, fractions,
// and either as a string.
func Lifetime(value gjson.Result, unit time.Duration) (time.Duration, bool) {
	text := value.Raw
	switch value.Type {
	case gjson.Number:
	case gjson.String:
		text = value.Str
	default:
		return 0, false
	}
	units, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	seconds := units * unit.Seconds()
	if err != nil || !(seconds >= 1 && seconds <= MaxLifetime.Seconds()) {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

// Time reads a point in time: as in RFC 3339, or as a number of seconds since 1970 or of
// milliseconds, as JavaScript has it.
func Time(value gjson.Result) (time.Time, bool) {
	if value.Type == gjson.String {
		if at, err := time.Parse(time.RFC3339, value.Str); err == nil {
			return at, true
		}
	}
	const year2001, year5138 = 1e9, 1e11
	switch n, ok := Number(value); {
	case !ok || n < year2001:
		return time.Time{}, false
	case n < year5138:
		return time.UnixMilli(int64(n * 1000)), true
	case n < 1000*year5138:
		return time.UnixMilli(int64(n)), true
	}
	return time.Time{}, false
}

// Number reads a number, or a string of one.
func Number(value gjson.Result) (n float64, ok bool) {
	switch value.Type {
	case gjson.Number:
		return value.Num, true
	case gjson.String:
		n, err := strconv.ParseFloat(value.Str, 64)
		return n, err == nil && !math.IsNaN(n)
	}
	return 0, false
}
