package bearer

import (
	"github.com/go-jose/go-jose/v4/json"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// maxDepth bounds nested objects and arrays.
const maxDepth = 32

// decodeObject returns data as one JSON object, and false if it is none, is nested
// too deep, or has an object in it that has a name twice: of those, two readers
// may take different ones.
func decodeObject(data []byte) (map[string]any, bool) {
	if credential.DeeperThan(data, maxDepth) {
		return nil, false
	}
	// Not encoding/json, which takes the last of two equal names.
	var object map[string]any
	err := json.Unmarshal(data, &object)
	return object, err == nil && object != nil // which "null" leaves nil
}
