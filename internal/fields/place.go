package fields

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// CheckPlaces reports whether every path names one place that can be written to,
// each another one, none of them under the reserved key.
func CheckPlaces(paths []string) error {
	for i, path := range paths {
		if err := checkWritable(path); err != nil {
			return fmt.Errorf("field %q: %w", path, err)
		}
		for _, other := range paths[:i] {
			if path == other || strings.HasPrefix(path, other+".") || strings.HasPrefix(other, path+".") {
				return fmt.Errorf("fields %q and %q overlap", other, path)
			}
		}
	}
	return nil
}

// checkWritable keeps a path to what gjson and sjson understand alike: no
// wildcards, queries or modifiers, which name no one place, and no index that
// would make sjson fill a long array.
func checkWritable(path string) error {
	var key strings.Builder // without its escapes
	first, index := true, true
	endKey := func(last bool) error {
		k := key.String()
		switch {
		case k == "":
			return errors.New("empty key")
		case first && k == credential.ReservedField:
			return fmt.Errorf("%s is reserved", credential.ReservedField)
		case k == "-1", index && (last || first || len(k) > 3 || len(k) > 1 && k[0] == '0'):
			return fmt.Errorf("index %s cannot stand here", k)
		}
		key.Reset()
		first, index = false, true
		return nil
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '.':
			if err := endKey(false); err != nil {
				return err
			}
			continue
		case c == '\\' && i+1 < len(path) && strings.IndexByte(".:/@", path[i+1]) >= 0:
			i++
			c = path[i]
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return fmt.Errorf("%q cannot stand in the path of a field that is written", c)
		}
		index = index && '0' <= c && c <= '9'
		key.WriteByte(c)
	}
	return endKey(true)
}

// CheckSource finds what would never find anything.
func CheckSource(path string) error {
	if path == "" {
		return errors.New("path to take it from is missing")
	}
	for i, part := range strings.Split(path, "|") {
		modifier, ok := strings.CutPrefix(part, "@")
		if !ok || i == 0 {
			continue // at the start it may be a key
		}
		if end := strings.IndexAny(modifier, ":."); end >= 0 {
			modifier = modifier[:end]
		}
		if !gjson.ModifierExists(modifier, nil) {
			return fmt.Errorf("unknown modifier @%s", modifier)
		}
	}
	return nil
}
