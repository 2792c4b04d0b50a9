package bearer

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// maxToken is the size of the largest token in bytes. Real ones have one or two
	// thousand; net/http takes a megabyte.
	maxToken = 16 << 10

	// maxDepth bounds nested objects and arrays. The library takes 10,000.
	maxDepth = 32
)

// parseToken takes the token out of the value of an Authorization header field and
// checks all of it that needs no key.
func parseToken(authorization string, allowed []jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	scheme, compact, _ := strings.Cut(authorization, " ")
	compact = strings.Trim(compact, " ")
	if !strings.EqualFold(scheme, "Bearer") || compact == "" {
		return nil, ErrMissing
	}
	if len(compact) > maxToken {
		return nil, errTooLong
	}
	header, err := decodeHeader(compact)
	if err != nil {
		return nil, err
	}
	// It looks into "jwk" and "x5c", which nobody uses here, and refuses malformed ones.
	token, err := jose.ParseSignedCompact(compact, allowed)
	if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, errAlgorithm
	} else if err != nil {
		return nil, errForm // without err, which quotes from the token
	}
	// The library knows the extension "b64" (RFC 7797), with and without "crit", and
	// takes a "crit" that is empty or null for none.
	members := gjson.GetManyBytes(header, "crit", "b64", "typ")
	if members[0].Exists() || members[1].Exists() {
		return nil, errExtension
	}
	if isOtherType(members[2].Str) { // "" unless it is a string
		return nil, errType
	}
	return token, nil
}

// decodeHeader returns the header of a token, and sees to what the library does not:
// that one token has one spelling, strictly in base64url (RFC 7515 section 2), and
// that nothing in it is nested too deep.
func decodeHeader(compact string) (header []byte, err error) {
	if strings.ContainsAny(compact, "\r\n") { // which the decoder skips
		return nil, errForm
	}
	for i, part := range strings.Split(compact, ".") {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || i < 2 && credential.DeeperThan(decoded, maxDepth) {
			return nil, errForm
		}
		if i == 0 {
			header = decoded
		}
	}
	return header, nil
}

// isOtherType reports whether the type of a token, as explicit typing spells it
// (RFC 8725 section 3.11), says that it is made for something else than access,
// as "logout+jwt" does. RFC 9068 has the type of access tokens.
func isOtherType(typ string) bool {
	name := strings.TrimPrefix(strings.ToLower(typ), "application/")
	return strings.HasSuffix(name, "+jwt") && name != "at+jwt"
}
