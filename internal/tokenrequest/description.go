package tokenrequest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	// maxDescription bounds a description in bytes.
	maxDescription = 200

	// minSecret is the length in bytes below which a value is not looked for: each
	// word would have it.
	minSecret = 4

	// minToken is the length in bytes from which a word with letters and digits is
	// taken for a token.
	minToken = 20

	// removed stands for what was removed. It is shorter than minSecret.
	removed = "…"
)

// cleanDescription makes text from an endpoint fit to be told: one line of what can
// be printed, without the secrets and what looks like a token.
func cleanDescription(text string, secrets []string) string {
	text = printable(text)
	var forms []string
	for _, s := range secrets {
		for _, form := range []string{
			s, url.QueryEscape(s), url.PathEscape(s),
			base64.StdEncoding.EncodeToString([]byte(s)), base64.RawStdEncoding.EncodeToString([]byte(s)),
			base64.URLEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		} {
			// In text nothing is found any more that cannot be printed.
			if form = printable(form); len(form) >= minSecret {
				forms = append(forms, form)
			}
		}
	}
	// The longest first, so that nothing is left of one that begins like another.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	forms = slices.Compact(forms)
	// What is left of both sides may be a secret again. Each round makes it shorter.
	for before := ""; before != text; {
		before = text
		for _, form := range forms {
			text = strings.ReplaceAll(text, form, removed)
		}
		text = withoutTokens(text)
	}
	for end := maxDescription; len(text) > maxDescription; end-- {
		if utf8.RuneStart(text[end]) {
			text = text[:end]
		}
	}
	return text
}

// printable removes what is bad UTF-8 or cannot be printed, line ends included.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

// withoutTokens replaces each run of token characters (RFC 6750 section 2.1) that
// looks like a token.
func withoutTokens(text string) string {
	var out strings.Builder
	for text != "" {
		n := 0
		var letters, digits bool
		for ; n < len(text) && isTokenCharacter(text[n]); n++ {
			switch c := text[n]; {
			case c >= '0' && c <= '9':
				digits = true
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
				letters = true
			}
		}
		switch {
		case n == 0:
			n = 1
			out.WriteByte(text[0])
		case n >= minToken && letters && digits:
			out.WriteString(removed)
		default:
			out.WriteString(text[:n])
		}
		text = text[n:]
	}
	return out.String()
}

func isTokenCharacter(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("._~+/=-", c) >= 0
}

// secretsOf returns the values in a request: of its query, its header, and its body; false
// if they are not known, as without a request.
func secretsOf(req *http.Request) (values []string, known bool) {
	if req == nil || req.Body != nil && req.GetBody == nil {
		return nil, false
	}
	values = append(valuesOf(req.URL.Query()), headerValues(req)...)
	if req.GetBody == nil {
		return values, true
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, false
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, false
	}
	switch mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")); mediaType {
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(text))
		return append(values, valuesOf(form)...), err == nil
	case "application/json":
		return append(values, scalarsIn(gjson.ParseBytes(text))...), json.Valid(text)
	}
	return nil, len(text) == 0
}

// ofProtocol reports whether what a parameter says is a name of the protocol's, and no secret.
func ofProtocol(parameter string) bool {
	return parameter == "grant_type" || parameter == "token_type_hint"
}

// valuesOf returns the values of a form.
func valuesOf(form url.Values) (values []string) {
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if !ofProtocol(name) {
			values = append(values, form[name]...)
		}
	}
	return values
}

// headerValues returns what stands in a request's header, and parts of it: there may be the
// name of a scheme before a token, or that of a cookie.
func headerValues(req *http.Request) (values []string) {
	for name, fields := range req.Header {
		if name == "Accept" || name == "Content-Type" || name == "User-Agent" {
			continue
		}
		for _, value := range fields {
			if name != "Authorization" {
				values = append(values, value)
			}
			_, parameters, _ := strings.Cut(value, " ")
			values = append(values, parameters)
			for _, pair := range strings.Split(value, ";") {
				_, cookie, _ := strings.Cut(pair, "=")
				values = append(values, cookie)
			}
		}
	}
	if id, secret, ok := req.BasicAuth(); ok {
		for _, escaped := range []string{id, secret} {
			values = append(values, escaped)
			if plain, err := url.QueryUnescape(escaped); err == nil {
				values = append(values, plain)
			}
		}
	}
	return values
}

// scalarsIn returns the texts and numbers in a JSON value.
func scalarsIn(value gjson.Result) (values []string) {
	if !value.IsObject() && !value.IsArray() {
		return []string{value.String()}
	}
	value.ForEach(func(name, inside gjson.Result) bool {
		if !ofProtocol(name.Str) {
			values = append(values, scalarsIn(inside)...)
		}
		return true
	})
	return values
}
