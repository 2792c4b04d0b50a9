package vaultstore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// sampleTenant stands for all tenants where a policy is asked for. Nothing is read
// or written under its name.
const sampleTenant credential.Tenant = "sample"

// Capabilities that the store needs at a document. Version 1 of KV is only read.
var (
	documentCapabilities = map[int][]string{1: {"read"}, 2: {"create", "read", "update"}}
	journalCapabilities  = []string{"create", "read"}
	linksCapabilities    = []string{"create", "read", "update"}
)

// diagnosePolicy says for each provider, and for the key of the journals, whether
// the token may do what the store does there.
func (s *Store) diagnosePolicy(ctx context.Context, providers []string) []credential.Finding {
	journal, err := s.cfg.secretPath(credential.JournalKey())
	all, at := []string{journal}, make([]places, len(providers))
	for i, provider := range providers {
		if err == nil {
			at[i], err = s.cfg.placesOf(provider)
			all = append(append(all, at[i].document), at[i].lists...)
		}
	}
	if err != nil {
		return []credential.Finding{{Check: checkPolicy, Detail: err.Error(), Remedy: "Give the provider another name."}}
	}
	allowed, err := s.capabilities(ctx, all)
	if err != nil {
		f := credential.Finding{Check: checkPolicy, Detail: fmt.Sprintf("Vault does not say what the token may do: %v", err)}
		f.Remedy = `Give the token Vault's policy "default" too, or add to its own: ` + stanza("sys/capabilities-self", "update")
		if isUnanswered(err) {
			f.Remedy = s.connectionRemedy(err)
		}
		return []credential.Finding{f}
	}
	var findings []credential.Finding
	for i, provider := range providers {
		findings = append(findings, s.cfg.judgePolicy(provider, at[i], allowed))
	}
	if s.cfg.KVVersion == 2 {
		findings = append(findings, judgeJournal(journal, allowed))
	}
	return findings
}

// places are the paths in Vault's API at which a policy is asked for.
type places struct {
	document string
	lists    []string
}

func (c *Config) placesOf(provider string) (places, error) {
	document, err := c.secretPath(credential.Key{Provider: provider, Tenant: sampleTenant})
	if err != nil {
		return places{}, err
	}
	segments := strings.Split(c.PathTemplate, "/")
	tenant, last := slices.Index(segments, tenantSegment), len(segments)-1
	segments[slices.Index(segments, providerSegment)], segments[tenant] = provider, string(sampleTenant)
	p := places{document: document}
	for _, n := range slices.Compact([]int{tenant, last}) {
		path, err := c.listPath(segments[:n])
		if err != nil {
			return places{}, err
		}
		p.lists = append(p.lists, path+"/") // as Vault asks the policy for a list
	}
	return p, nil
}

// capabilities asks what the token may do at each of these paths
// (https://developer.hashicorp.com/vault/api-docs/system/capabilities-self).
func (s *Store) capabilities(ctx context.Context, paths []string) (map[string][]string, error) {
	a, err := s.ask(ctx, request{method: http.MethodPost, path: "sys/capabilities-self", body: map[string][]string{"paths": paths}})
	if err != nil {
		return nil, err
	}
	var said struct{ Data map[string]json.RawMessage }
	if a.status != http.StatusOK || json.Unmarshal(a.body, &said) != nil {
		return nil, documentError(a)
	}
	allowed := make(map[string][]string)
	for _, path := range paths {
		var capabilities []string
		if json.Unmarshal(said.Data[path], &capabilities) != nil {
			return nil, documentError(a)
		}
		allowed[path] = capabilities
	}
	return allowed, nil
}

// lacking are those of the needed capabilities that are not among the allowed.
func lacking(allowed []string, needed ...string) []string {
	if slices.Contains(allowed, "root") {
		return nil
	}
	var missing []string
	for _, capability := range needed {
		if slices.Contains(allowed, "deny") || !slices.Contains(allowed, capability) {
			missing = append(missing, capability)
		}
	}
	return missing
}

// judgePolicy says what a token that may do this can do for a provider. What only
// the credentials API and the commands need is no fault.
func (c *Config) judgePolicy(provider string, p places, allowed map[string][]string) credential.Finding {
	needed := documentCapabilities[c.KVVersion]
	if missing := lacking(allowed[p.document], needed...); missing != nil {
		return credential.Finding{
			Check:  checkPolicy,
			Detail: fmt.Sprintf("provider %s: the token may not %s credentials", provider, strings.Join(missing, ", ")),
			Remedy: fmt.Sprintf("Have the most specific rule of its policy for %s say so: %s", p.document, stanza(c.documentRule(provider), needed...)),
		}
	}
	detail := fmt.Sprintf("provider %s: the token may %s credentials", provider, strings.Join(needed, ", "))
	if c.KVVersion == 2 && lacking(allowed[p.document], "delete") != nil {
		detail += "; DELETE by the credentials API will not work without " + stanza(c.documentRule(provider), "delete")
	}
	for _, path := range p.lists {
		if lacking(allowed[path], "list") != nil {
			detail += "; lists of tenants will not work without " + stanza(c.listRule(provider), "list")
			break
		}
	}
	return credential.Finding{Check: checkPolicy, OK: true, Detail: detail}
}

func judgeJournal(path string, allowed map[string][]string) credential.Finding {
	if missing := lacking(allowed[path], journalCapabilities...); missing != nil {
		return credential.Finding{
			Check:  checkPolicy,
			Detail: fmt.Sprintf("journal: the token may not %s its key, without which nothing is refreshed", strings.Join(missing, ", ")),
			Remedy: "Have its policy say: " + stanza(path, journalCapabilities...),
		}
	}
	return credential.Finding{Check: checkPolicy, OK: true, Detail: "journal: the token may create, read its key"}
}

// DiagnoseLinks says whether the token may do what links to connect take, for these
// providers. It says nothing if Vault does not answer, which [Store.Diagnose] tells.
func (s *Store) DiagnoseLinks(ctx context.Context, providers []string) []credential.Finding {
	s.Open()
	defer s.leave()
	var all []string
	for _, key := range append(linksOf(providers), credential.LinksKey()) {
		path, err := s.cfg.secretPath(key)
		if err != nil {
			return nil
		}
		all = append(all, path)
	}
	allowed, err := s.capabilities(ctx, all)
	if err != nil {
		return nil
	}
	for _, path := range all {
		if missing := lacking(allowed[path], linksCapabilities...); missing != nil {
			return []credential.Finding{{
				Check:  checkPolicy,
				Detail: fmt.Sprintf("links to connect: the token may not %s at %s, without which none can be made or used", strings.Join(missing, ", "), s.cfg.linksRule()),
				Remedy: "Have its policy say: " + stanza(s.cfg.linksRule(), linksCapabilities...),
			}}
		}
	}
	return []credential.Finding{{Check: checkPolicy, OK: true, Detail: "links to connect: the token may " + strings.Join(linksCapabilities, ", ") + " them"}}
}

func linksOf(providers []string) (keys []credential.Key) {
	for _, provider := range providers {
		keys = append(keys, credential.Key{Provider: provider, Tenant: sampleTenant}.Links())
	}
	return keys
}

// stanza is a rule of a policy as one writes it
// (https://developer.hashicorp.com/vault/docs/concepts/policies).
func stanza(path string, capabilities ...string) string {
	return fmt.Sprintf(`path %q { capabilities = ["%s"] }`, path, strings.Join(capabilities, `", "`))
}

// documentRule is the path of a policy's rule for a provider's documents. Of the
// rules for a path Vault takes the most specific alone, and adds up those with the
// very same path; so the one for the default template is that of the README.
func (c *Config) documentRule(provider string) string {
	prefix := c.Mount + "/"
	if c.KVVersion == 2 {
		prefix += "data/"
	}
	if common := c.commonPath(provider); common != "" {
		return prefix + common + "/*"
	}
	return prefix + strings.NewReplacer(providerSegment, provider, tenantSegment, "+").Replace(c.PathTemplate)
}

// documentPermission is what a policy has to give for a request for key's document,
// by the path of the rule for all tenants. The key is valid.
func (c *Config) documentPermission(key credential.Key, capabilities ...string) *credential.PermissionError {
	rule := ""
	switch {
	case key == credential.JournalKey():
		rule, _ = c.secretPath(key)
	case key.IsOwn():
		rule = c.linksRule()
	default:
		rule = c.documentRule(key.Provider)
	}
	return &credential.PermissionError{Capabilities: capabilities, Path: rule}
}

// linksRule is the same for links to connect: their keys' document and those below it.
func (c *Config) linksRule() string {
	path, _ := c.secretPath(credential.LinksKey())
	return path + "*"
}

// listRule is the same for what List lists.
func (c *Config) listRule(provider string) string {
	prefix := c.Mount + "/"
	if c.KVVersion == 2 {
		prefix += "metadata/"
	}
	if common := c.commonPath(provider); common != "" {
		prefix += common + "/"
	}
	return prefix + "*"
}

// commonPath is what all paths of the template begin with, or else those of the
// provider; empty if the tenant comes first.
func (c *Config) commonPath(provider string) string {
	segments := strings.Split(c.PathTemplate, "/")
	if segments[0] == providerSegment {
		segments[0] = provider
	}
	first := slices.IndexFunc(segments, func(segment string) bool { return segment == providerSegment || segment == tenantSegment })
	return strings.Join(segments[:first], "/")
}
