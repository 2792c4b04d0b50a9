package bearer

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxToken is the size of the largest token in bytes. Real ones have one or two
// thousand; net/http takes a megabyte.
const maxToken = 16 << 10

// token is a signed token in compact serialization (RFC 7515 section 7.1) whose
// signature is not verified.
type token struct {
	signed    *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	keyID     string // "" if it names none
}

// parseToken takes the token out of the value of an Authorization header field and
// checks all of it that needs no key.
func parseToken(authorization string, allowed []jose.SignatureAlgorithm) (*token, error) {
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
	algorithm, _ := header["alg"].(string)
	if !slices.Contains(allowed, jose.SignatureAlgorithm(algorithm)) {
		return nil, errAlgorithm
	}
	// The library knows the extension "b64" (RFC 7797), with and without "crit".
	for _, extension := range []string{"crit", "b64"} {
		if _, found := header[extension]; found {
			return nil, errExtension
		}
	}
	if isOtherType(header["typ"]) {
		return nil, errType
	}
	// It looks into "jwk" and "x5c", which nobody uses here, and refuses malformed ones.
	signed, err := jose.ParseSignedCompact(compact, allowed)
	if err != nil {
		return nil, errHeader
	}
	keyID, _ := header["kid"].(string)
	return &token{signed: signed, algorithm: jose.SignatureAlgorithm(algorithm), keyID: keyID}, nil
}

// decodeHeader returns the header of a token of three parts, each strictly in
// base64url (RFC 7515 section 2): one token has one spelling.
func decodeHeader(compact string) (map[string]any, error) {
	parts := strings.SplitN(compact, ".", 4)
	if len(parts) != 3 || strings.ContainsAny(compact, "\r\n") { // which the decoder skips
		return nil, errForm
	}
	var header []byte
	for i, part := range parts {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			return nil, errForm
		}
		if i == 0 {
			header = decoded
		}
	}
	object, ok := decodeObject(header)
	if !ok {
		return nil, errHeader
	}
	return object, nil
}

// isOtherType reports whether the type of a token, as explicit typing spells it
// (RFC 8725 section 3.11), says that it is made for something else than access,
// as "logout+jwt" does. RFC 9068 has the type of access tokens.
func isOtherType(typ any) bool {
	name, _ := typ.(string)
	name = strings.TrimPrefix(strings.ToLower(name), "application/")
	return strings.HasSuffix(name, "+jwt") && name != "at+jwt"
}
