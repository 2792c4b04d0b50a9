package main

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"github.com/tidwall/gjson"
)

var (
	fieldOf = regexp.MustCompile(`\{(credential|step[0-9]+)\.([^{}\s]+)\}`)
	basicOf = regexp.MustCompile(`^Basic \$\{base64\((\{credential\.[^{}]+\}|[^{}:]*):(\{credential\.[^{}]+\}|[^{}:]*)\)\}$`)
	macroOf = regexp.MustCompile(`\$\{(\w*)`)
)

// The client's id and secret in a text, which are the operator's.
var clientOf = strings.NewReplacer("${clientId}", "{env.CLIENT_ID}", "${clientSecret}", "{env.CLIENT_SECRET}")

// alternatives are the ways in which a text says its value: the first counts whose fields
// are all there.
func alternatives(text string) []string {
	parts := strings.Split(text, "||")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// fields are the paths in the credential that a text takes.
func fields(text string) (paths []string) {
	for _, found := range fieldOf.FindAllStringSubmatch(text, -1) {
		if found[1] == "credential" {
			paths = append(paths, found[2])
		}
	}
	return paths
}

// ours is a text in the grammar of Caddyfiles. Without one it says why.
func (a *api) ours(what, text string) string {
	all := alternatives(text)
	if len(all) == 1 {
		return a.single(what, text)
	}
	first, second := all[0], strings.Join(all[1:], " || ")
	found := fieldOf.FindAllStringIndex(first, -1)
	switch {
	case len(all) > 2 || len(found) == 0:
	case len(found) == 1:
		before, after := first[:found[0][0]], first[found[0][1]:]
		value, fits := strings.CutPrefix(second, before)
		if fits {
			value, fits = strings.CutSuffix(value, after)
		}
		path := fields(first)
		switch other := fields(value); {
		case !fits || value == "" || len(path) == 0:
		case len(other) == 1 && value == "{credential."+other[0]+"}":
			a.optional[path[0]] = true
			return a.single(what, before+fmt.Sprintf("{credential.[%s,%s]|0}", path[0], other[0])+after)
		case !strings.ContainsAny(value, "{}$|\\\"()[]"):
			a.optional[path[0]] = true
			return a.single(what, before+"{credential."+path[0]+"|default:"+value+"}"+after)
		}
	}
	a.withFirst(first, second)
	return a.single(what, first)
}

// withFirst is for alternatives of which only the first is written: the credential has to
// have its fields then. That counts if they can have the other's value.
func (a *api) withFirst(first, second string) {
	pattern := regexp.QuoteMeta(first)
	for _, path := range fields(first) {
		pattern = strings.Replace(pattern, regexp.QuoteMeta("{credential."+path+"}"), `.+`, 1)
	}
	if !regexp.MustCompile("^"+pattern+"$").MatchString(second) && !strings.HasPrefix(second, "{") && !strings.HasPrefix(second, "${") {
		a.gap("%s || …: an alternative that is not one value's default", first)
		return
	}
	a.omit("|| with something else than a default: the credential has to have the first one's fields")
}

// single is ours for a text without alternatives.
func (a *api) single(what, text string) string {
	text = clientOf.Replace(text)
	if macro := macroOf.FindStringSubmatch(text); macro != nil {
		a.gap("%s", macroGap(what, macro[1], text))
		return text
	}
	for _, path := range fields(text) {
		if !strings.ContainsAny(path, "|[") {
			a.required[path] = true
		}
	}
	if strings.Contains(strings.ReplaceAll(fieldOf.ReplaceAllString(text, ""), "{env.CLIENT_", ""), "{") {
		a.gap("a brace in a text (%s)", what)
	}
	return text
}

// macroGap says what a text would take that is made of more than fields.
func macroGap(what, macro, text string) string {
	switch {
	case strings.HasPrefix(macro, "awsSigV4") || what == "header x-amz-date":
		return "AWS Signature Version 4 (aws_sigv4)"
	case strings.Contains(text, "hmac") || what == "header date":
		return "HMAC over the request (hmac)"
	case strings.Contains(text, "Sign(") || strings.Contains(text, "sha256Base64(") || strings.Contains(text, "sig="):
		return "HTTP message signatures (http_signature)"
	case macro == "now":
		return "a point in time in a text"
	case macro == "random":
		return "a random value in a text"
	}
	return fmt.Sprintf("${%s}: a value that is no field of the credential", macro)
}

// evaluate is what a text is for a document. It is written without the product's code: it
// says what is expected of that.
func evaluate(text string, document []byte) string {
	for _, one := range alternatives(text) {
		missing := false
		value := fieldOf.ReplaceAllStringFunc(one, func(placeholder string) string {
			found := gjson.GetBytes(document, fieldOf.FindStringSubmatch(placeholder)[2])
			missing = missing || found.String() == ""
			return found.String()
		})
		value = strings.NewReplacer("${clientId}", clientID, "${clientSecret}", clientSecret).Replace(value)
		if basic := regexp.MustCompile(`^Basic \$\{base64\((.*)\)\}$`).FindStringSubmatch(value); basic != nil {
			value = "Basic " + base64.StdEncoding.EncodeToString([]byte(basic[1]))
		}
		if !missing {
			return value
		}
	}
	return ""
}
