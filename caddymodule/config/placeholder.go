// Package config reads Caddyfiles' arguments and fills in placeholders, for all modules of
// this plugin.
package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// AppName is the app's module ID and the global option that configures it.
const AppName = "upstream_auth"

// runtimeNamespaces are the placeholders that configuration may use: what is
// known when the configuration is loaded, and does not change with a request.
var runtimeNamespaces = []string{"env.", "file.", "system."}

// Resolver fills in the run-time placeholders of a configuration's values.
type Resolver struct {
	replacer *caddy.Replacer // nil: while a Caddyfile is adapted
	unknown  int             // how many texts are not known then
	err      error           // the first one
}

// NewResolver makes one for a configuration that is loaded.
func NewResolver() *Resolver { return &Resolver{replacer: caddy.NewReplacer()} }

// AdaptingResolver is for adapting a Caddyfile, which does not know the values: it puts
// a word for a text with any, and a URL like [UnknownURL] for such a URL, each time
// another one.
func AdaptingResolver() *Resolver { return new(Resolver) }

// Adapting reports whether it is an [AdaptingResolver].
func (r *Resolver) Adapting() bool { return r.replacer == nil }

// Text returns value with its placeholders filled in. An unknown placeholder or
// one without a value is an error, which names what the value is for.
func (r *Resolver) Text(what, value string) string {
	return r.fill(what, value, "unknown-%d")
}

// URL is [Resolver.Text] for a URL.
func (r *Resolver) URL(what, value string) string {
	return r.fill(what, value, "https://unknown-%d.invalid/unknown")
}

// fill returns value with its placeholders filled in, or something like unknown.
func (r *Resolver) fill(what, value, unknown string) string {
	if r.err != nil || !strings.Contains(value, "{") {
		return value
	}
	if r.Adapting() {
		for _, name := range PlaceholderName.FindAllStringSubmatch(value, -1) {
			if err := CheckRuntimePlaceholder(name[1]); err != nil {
				r.err = fmt.Errorf("%s: %w", what, err)
			}
		}
		r.unknown++
		return fmt.Sprintf(unknown, r.unknown)
	}
	resolved, err := r.replacer.ReplaceOrErr(value, true, true)
	if err != nil {
		r.err = fmt.Errorf("%s: %w", what, err)
	}
	return resolved
}

// Lookup returns the value of one run-time placeholder, named without braces.
func (r *Resolver) Lookup(name string) (string, error) {
	if err := CheckRuntimePlaceholder(name); err != nil {
		return "", err
	}
	value, known := r.replacer.GetString(name)
	if !known || value == "" {
		return "", fmt.Errorf("placeholder {%s} has no value", name)
	}
	return value, nil
}

// CheckRuntimePlaceholder reports whether a placeholder can have a value when
// the configuration is loaded. What that value is only the running process
// knows, so this is all that can be checked when a Caddyfile is adapted.
func CheckRuntimePlaceholder(name string) error {
	for _, namespace := range runtimeNamespaces {
		if strings.HasPrefix(name, namespace) && len(name) > len(namespace) {
			return nil
		}
	}
	return fmt.Errorf("placeholder {%s} cannot be resolved here", name)
}

// Err is the first error of [Resolver.Text].
func (r *Resolver) Err() error { return r.err }

// LookupLater stands for the value of a run-time placeholder, which adapting
// does not know.
func LookupLater(name string) (string, error) { return "x", CheckRuntimePlaceholder(name) }

// UnknownURL stands for a text whose placeholders are yet to be filled in: a URL, most
// of all.
const UnknownURL = "https://unknown.invalid/unknown"

// PlaceholderName finds the placeholders in a text.
var PlaceholderName = regexp.MustCompile(`\{([^{}\s"]+)\}`)

// IsOnePlaceholder reports whether text is one placeholder and nothing else.
func IsOnePlaceholder(text string) bool {
	return strings.HasPrefix(text, "{") && strings.Index(text, "}") == len(text)-1
}

// ParseSecret parses a template that carries a secret.
func ParseSecret(text string, lookup func(string) (string, error)) (*template.Template, error) {
	if !strings.Contains(text, "{") {
		return nil, template.ErrInlineSecret
	}
	return template.Parse(text, lookup)
}
