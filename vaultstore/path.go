package vaultstore

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Segments of a path template that stand for a part of the key.
const (
	providerSegment = "{provider}"
	tenantSegment   = "{tenant}"
)

// reserved are the paths below the mount for what is the sidecar's own, whatever the
// template says: no credential may lie at one or below it.
var reserved = [][]string{
	{ownFolder, credential.JournalKey().Provider},
	{ownFolder, credential.LinksKey().Provider},
}

const ownFolder = "upstream-auth"

// errPath says that a built path is not the one that its key stands for. It can
// only be a mistake in this program: the names in a key cannot hold a slash.
var errPath = errors.New("credential's path leaves its place")

// checkPath reports whether p is a clean relative path of plain segments.
func checkPath(what, p string) error {
	for segment := range strings.SplitSeq(p, "/") {
		if !isPlainSegment(segment) {
			return fmt.Errorf("%s %q is not a path of letters, digits, '.', '_', '@', '-' and '/', without empty, '.' and '..' segments", what, p)
		}
	}
	return nil
}

// isPlainSegment reports whether segment is what it looks like in a URL's path
// and to Vault.
func isPlainSegment(segment string) bool {
	if segment == "" || segment == "." || strings.Contains(segment, "..") {
		return false
	}
	for i := range len(segment) {
		switch c := segment[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}

// CheckPathTemplate reports whether each key has a path of its own under template,
// none of them a reserved one.
func CheckPathTemplate(template string) error {
	segments := strings.Split(template, "/")
	found := map[string]int{}
	for _, segment := range segments {
		switch {
		case segment == providerSegment, segment == tenantSegment:
			found[segment]++
		case !isPlainSegment(segment):
			return fmt.Errorf("segment %q of path %q is neither %s, %s nor plain letters, digits, '.', '_', '@' and '-'",
				segment, template, providerSegment, tenantSegment)
		}
	}
	for _, placeholder := range []string{providerSegment, tenantSegment} {
		if found[placeholder] != 1 {
			return fmt.Errorf("path %q does not have %s once, as a segment of its own", template, placeholder)
		}
	}
	for _, own := range reserved {
		if mayBeAt(segments, own) {
			return fmt.Errorf("path %q can lead to %s, which is reserved", template, strings.Join(own, "/"))
		}
	}
	return nil
}

// mayBeAt reports whether a path of these segments can lie at or below place.
func mayBeAt(segments, place []string) bool {
	for i, name := range place {
		if i == len(segments) {
			return false
		}
		switch segments[i] {
		case name:
		case providerSegment:
			if credential.CheckProvider(name) != nil {
				return false
			}
		case tenantSegment:
			if _, err := credential.ParseTenant(name); err != nil {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// listPath is the path in Vault's API, without "/v1/", that lists the names below
// these segments. The error must never be seen, as that of secretPath.
func (c *Config) listPath(segments []string) (string, error) {
	for _, segment := range segments {
		if !isPlainSegment(segment) {
			return "", errPath
		}
	}
	parts := []string{c.Mount}
	if c.KVVersion == 2 {
		parts = append(parts, "metadata")
	}
	return strings.Join(append(parts, segments...), "/"), nil
}

// secretPath is the path of key's document in Vault's API, without "/v1/". The
// configuration has its defaults and is valid. The error is that of
// [credential.Key.Check], or one that must never be seen: the path is compared
// with what it should be before a request is made of it, since the Vault client
// resolves ".." in it.
func (c *Config) secretPath(key credential.Key) (string, error) {
	if err := key.Check(); err != nil {
		return "", err
	}
	prefix := c.Mount + "/"
	if c.KVVersion == 2 {
		prefix += "data/"
	}
	if key.IsOwn() {
		built := strings.TrimSuffix(prefix+ownFolder+"/"+key.Provider+"/"+string(key.Tenant), "/")
		if path.Clean(built) != built {
			return "", errPath
		}
		return built, nil
	}
	segments := strings.Split(c.PathTemplate, "/")
	provider, tenant := slices.Index(segments, providerSegment), slices.Index(segments, tenantSegment)
	if provider < 0 || tenant < 0 {
		return "", errPath
	}
	segments[provider], segments[tenant] = key.Provider, string(key.Tenant)
	built := prefix + strings.Join(segments, "/")

	rest, found := strings.CutPrefix(built, prefix)
	parts := strings.Split(rest, "/")
	if !found || path.Clean(built) != built || len(parts) != len(segments) ||
		parts[provider] != key.Provider || parts[tenant] != string(key.Tenant) {
		return "", errPath
	}
	return built, nil
}
