package schemes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// templates parses settings until one of them is wrong.
type templates struct {
	lookup   func(name string) (string, error)
	adapting bool // a Caddyfile, which knows no values
	err      error
}

// newTemplates parses them with the values of run-time placeholders.
func newTemplates(resolve *config.Resolver) *templates {
	if resolve.Adapting() {
		return &templates{lookup: config.LookupLater, adapting: true}
	}
	return &templates{lookup: resolve.Lookup}
}

// parse returns the template that a setting is, nil for none.
func (t *templates) parse(name, text string) *template.Template {
	if text == "" || t.err != nil {
		return nil
	}
	parsed, err := template.Parse(text, t.lookup)
	if err != nil {
		t.err = fmt.Errorf("%s: %w", name, err)
	}
	return parsed
}

// url is parse for a URL. While a Caddyfile is adapted nobody knows the host that a run-time
// placeholder makes: allowed, if there is such a list, has it then.
func (t *templates) url(name, text string, allowed *hosts.List) *template.Template {
	unknown := t.adapting && strings.Contains(strings.ReplaceAll(text, "{credential.", ""), "{")
	if unknown && strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "{credential.") {
		text = "https://" + text
	}
	parsed := t.parse(name, text)
	if parsed == nil || !unknown || *allowed == nil || parsed.UsesCredential() {
		return parsed
	}
	if u, err := parsed.ExecuteURL(nil); err == nil {
		made, _ := hosts.Parse([]string{u.Hostname()})
		*allowed = append(*allowed, made...)
	}
	return parsed
}

// secret is parse for what must not be written into a configuration.
func (t *templates) secret(name, text string) *template.Template {
	if text != "" && t.err == nil && !config.IsOnePlaceholder(text) {
		t.err = fmt.Errorf("%s: %w", name, template.ErrInlineSecret)
	}
	return t.parse(name, text)
}

// parseAll is parse for each of a map.
func (t *templates) parseAll(kind string, texts map[string]string) map[string]*template.Template {
	var all map[string]*template.Template
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if all == nil {
			all = make(map[string]*template.Template, len(texts))
		}
		if parsed := t.parse(kind+" "+name, texts[name]); parsed != nil {
			all[name] = parsed
		} else {
			all[name] = new(template.Template) // empty
		}
	}
	return all
}

// parseList is parse for each of a list.
func (t *templates) parseList(name string, texts []string) []*template.Template {
	var all []*template.Template
	for _, text := range texts {
		if strings.TrimSpace(text) == "" && t.err == nil {
			t.err = fmt.Errorf("%s: there is an empty one", name)
		}
		all = append(all, t.parse(name, text))
	}
	return all
}
