package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// encodings returns all the texts that give secret away, by the name of the form.
func encodings(secret string) map[string][]byte {
	forms := map[string]string{
		"plain text":           secret,
		"hex":                  hex.EncodeToString([]byte(secret)),
		"upper-case hex":       strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"query encoding":       url.QueryEscape(secret),
		"path encoding":        url.PathEscape(secret),
		"percent encoding":     percent(secret, "%%%02X"),
		"percent encoding, lc": percent(secret, "%%%02x"),
		"JSON":                 inJSON(secret, false),
		"JSON for HTML":        inJSON(secret, true),
		"Go syntax":            strings.Trim(strconv.Quote(secret), `"`),
		"ASCII Go syntax":      strings.Trim(strconv.QuoteToASCII(secret), `"`),
	}
	for shift := range 3 {
		forms[fmt.Sprintf("base64 shifted by %d", shift)] = base64Inner(base64.RawStdEncoding, secret, shift)
		forms[fmt.Sprintf("URL base64 shifted by %d", shift)] = base64Inner(base64.RawURLEncoding, secret, shift)
	}
	if len(secret) >= 3*minLength {
		forms["plain text, first half"] = secret[:len(secret)/2]
		forms["plain text, second half"] = secret[len(secret)/2:]
	}

	// Equal texts are one form, the one whose name is best known.
	distinct := make(map[string][]byte)
	for form, text := range forms {
		if form == "plain text" || text != secret {
			distinct[form] = []byte(text)
		}
	}
	return distinct
}

// base64Inner returns those digits of the encoding that depend on secret alone
// when it stands shift bytes after a multiple of three.
func base64Inner(encoding *base64.Encoding, secret string, shift int) string {
	all := encoding.EncodeToString(append(make([]byte, shift), secret...))
	first := (shift*8 + 5) / 6
	last := (shift + len(secret)) * 8 / 6
	return all[first:last]
}

func percent(secret, format string) string {
	var b strings.Builder
	for _, c := range []byte(secret) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

func inJSON(secret string, html bool) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(html)
	_ = encoder.Encode(secret) // a string cannot fail
	return strings.Trim(b.String(), "\"\n")
}
