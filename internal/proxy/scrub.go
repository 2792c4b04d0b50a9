package proxy

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// minSecret is how long a value has to be, in bytes, to be taken for a secret: a shorter
// one, as an account's number, stands in many answers by itself.
const minSecret = 8

// scrubbed stands for a secret that an upstream repeated.
const scrubbed = "REDACTED"

// secretForms are secrets as an upstream may repeat them.
type secretForms struct{ secrets, forms []string }

// formsSent returns what schemes have set in a request, as it is, and in base64,
// hexadecimal and URL encoding: an upstream that redirects to the same query must not tell
// the app the key. As a rule the next request has the same secrets.
func (x *Exchange) formsSent(sent *http.Request) (forms []string) {
	if x.PassSecrets {
		return nil
	}
	secrets := x.secretsOf(sent)
	if last := x.lastSecrets.Load(); last != nil && slices.Equal(last.secrets, secrets) {
		return last.forms
	}
	for _, secret := range secrets {
		forms = append(forms, x.formsOf(secret)...)
	}
	x.lastSecrets.Store(&secretForms{slices.Clone(secrets), forms})
	return forms
}

// secretsOf returns the values that schemes have set in a request.
func (x *Exchange) secretsOf(sent *http.Request) []string {
	secrets, names := x.secrets[:0], x.Provider.Names()
	for _, name := range names.Header {
		for _, value := range sent.Header[name] {
			switch scheme, token, found := strings.Cut(value, " "); {
			case name == "Cookie":
				for pair := range strings.SplitSeq(value, ";") {
					_, cookie, _ := strings.Cut(pair, "=")
					secrets = append(secrets, strings.TrimSpace(cookie))
				}
			case found && strings.EqualFold(scheme, "Basic"):
				secrets = append(secrets, token)
				if pair, err := base64.StdEncoding.DecodeString(token); err == nil {
					_, password, _ := strings.Cut(string(pair), ":")
					secrets = append(secrets, password)
				}
			case found: // Bearer and the like
				secrets = append(secrets, token)
			default:
				secrets = append(secrets, value)
			}
		}
	}
	if len(names.Query) > 0 {
		for segment := range strings.SplitSeq(sent.URL.RawQuery, "&") {
			if namesParameter(segment, names.Query) {
				_, value, _ := strings.Cut(segment, "=")
				if plain, err := url.QueryUnescape(value); err == nil {
					secrets = append(secrets, plain)
				}
			}
		}
	}
	return slices.DeleteFunc(secrets, func(value string) bool {
		return len(value) < minSecret || slices.Contains(x.Exposed, value)
	})
}

// scrub replaces secrets in a field's values.
func scrub(values, forms []string) {
	for i := range values {
		for _, form := range forms {
			if len(values[i]) >= len(form) && strings.Contains(values[i], form) {
				values[i] = strings.ReplaceAll(values[i], form, scrubbed)
			}
		}
	}
}

// formsOf returns a secret, its encodings, and what it is itself an encoding of.
func (x *Exchange) formsOf(secret string) []string {
	raw := []byte(secret)
	var forms []string
	for _, form := range []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
		base64.RawStdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	} {
		if !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	for _, plain := range decodings(secret) {
		if len(plain) >= minSecret && isText(plain) && !slices.Contains(x.Exposed, plain) && !slices.Contains(forms, plain) {
			forms = append(forms, plain)
		}
	}
	return forms
}

// decodings returns what a template's filter may have made value of.
func decodings(value string) []string {
	unescaped, _ := url.PathUnescape(value)
	fromHex, _ := hex.DecodeString(value)
	plain := strings.TrimRight(value, "=")
	standard, _ := base64.RawStdEncoding.DecodeString(plain)
	urlSafe, _ := base64.RawURLEncoding.DecodeString(plain)
	return []string{unescaped, string(fromHex), string(standard), string(urlSafe)}
}

// isText tells a text from bytes that merely look like an encoding of some.
func isText(value string) bool {
	return utf8.ValidString(value) && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f })
}
