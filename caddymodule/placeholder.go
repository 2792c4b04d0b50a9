package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// runtimeNamespaces are the placeholders that configuration may use: what is
// known when the configuration is loaded, and does not change with a request.
var runtimeNamespaces = []string{"env.", "file.", "system."}

// resolver fills in the run-time placeholders of a configuration's values.
type resolver struct {
	replacer *caddy.Replacer // nil: while a Caddyfile is adapted
	unknown  int             // how many texts are not known then
	err      error           // the first one
}

func newResolver() *resolver { return &resolver{replacer: caddy.NewReplacer()} }

// adaptingResolver is for adapting a Caddyfile, which does not know the values: it
// puts a URL like [unknownURL] for a text with any, each time another one.
func adaptingResolver() *resolver { return new(resolver) }

// text returns value with its placeholders filled in. An unknown placeholder or
// one without a value is an error, which names what the value is for.
func (r *resolver) text(what, value string) string {
	if r.err != nil || !strings.Contains(value, "{") {
		return value
	}
	if r.replacer == nil {
		for _, name := range placeholderName.FindAllStringSubmatch(value, -1) {
			if err := checkRuntimePlaceholder(name[1]); err != nil {
				r.err = fmt.Errorf("%s: %w", what, err)
			}
		}
		r.unknown++
		return fmt.Sprintf("https://unknown-%d.invalid/unknown", r.unknown)
	}
	resolved, err := r.replacer.ReplaceOrErr(value, true, true)
	if err != nil {
		r.err = fmt.Errorf("%s: %w", what, err)
	}
	return resolved
}

// lookup returns the value of one run-time placeholder, named without braces.
func (r *resolver) lookup(name string) (string, error) {
	if err := checkRuntimePlaceholder(name); err != nil {
		return "", err
	}
	value, known := r.replacer.GetString(name)
	if !known || value == "" {
		return "", fmt.Errorf("placeholder {%s} has no value", name)
	}
	return value, nil
}

// checkRuntimePlaceholder reports whether a placeholder can have a value when
// the configuration is loaded. What that value is only the running process
// knows, so this is all that can be checked when a Caddyfile is adapted.
func checkRuntimePlaceholder(name string) error {
	for _, namespace := range runtimeNamespaces {
		if strings.HasPrefix(name, namespace) && len(name) > len(namespace) {
			return nil
		}
	}
	return fmt.Errorf("placeholder {%s} cannot be resolved here", name)
}
