package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/tidwall/gjson"
)

// wantedJWT is a JSON Web Token that is made of the credential.
type wantedJWT struct {
	algorithm      string
	header, claims map[string]string // in the words of the line
	lifetime       int64             // in seconds
	verifyBy       any
}

// jwtOf is what a line calls the token that goes out with requests.
const jwtOf = "{credential.access_token}"

// readJWT reads a line whose requests have a token that is made of the credential.
func (a *api) readJWT() {
	token, signature := a.facts.object("token"), a.facts.object("signature")
	signature.text("protocol") // the algorithm says it
	a.provider.open("jwt")
	a.jwt = a.writeJWT(token.texts("header"), token.texts("payload"), token.text("signing_key"), signature.text("hmac_secret_encoding"))
	a.jwt.lifetime = seconds(token.text("expires_in_ms"))
	a.provider.add("lifetime", strconv.FormatInt(a.jwt.lifetime, 10)+"s")
	carrier := ""
	headers := a.facts.texts("headers")
	for _, name := range sorted(headers) {
		if !strings.Contains(headers[name], jwtOf) {
			continue
		}
		if carrier != "" {
			a.gap("a token in two headers")
		}
		carrier = name
		a.provider.add("to", "header", name, strings.Replace(headers[name], jwtOf, "{jwt}", 1))
		delete(a.facts.values["headers"].(map[string]any), name)
	}
	if carrier == "" {
		a.gap("a token in no header")
	}
	a.provider.end()
	a.readMappings()
	a.header[strings.ToLower(carrier)] = headers[carrier]
}

// seconds is a number of milliseconds in seconds, 0 if it is none.
func seconds(ms string) int64 {
	n, _ := strconv.ParseInt(ms, 10, 64)
	return n / 1000
}

// writeJWT writes what a token is made of, with a key that is made up.
func (a *api) writeJWT(header, claims map[string]string, key, encoding string) *wantedJWT {
	want := &wantedJWT{algorithm: header["alg"], header: header, claims: claims}
	a.provider.add("algorithm", want.algorithm)
	own := a.ours("signing key", key)
	private, public := makeKey(want.algorithm)
	switch {
	case !strings.HasPrefix(want.algorithm, "HS"):
		want.verifyBy = public
	case encoding == "" || encoding == "hex":
		private = hex.EncodeToString([]byte(private))
		want.verifyBy, own = public, strings.Replace(own, "}", "|unhex}", 1)
	case encoding == "utf8":
		want.verifyBy = public
	default:
		a.gap("a key in %s", encoding)
	}
	a.provider.add("key", own)
	for _, path := range fields(key) {
		a.set(path, private)
	}
	for _, name := range sorted(header) {
		if name != "alg" && name != "typ" {
			a.provider.add("header", name, a.ours("header "+name, header[name]))
		}
	}
	for _, name := range sorted(claims) {
		if name != "jti" || claims[name] != "${random}" { // that is there by itself
			a.provider.add("claim", name, a.ours("claim "+name, claims[name]))
		}
	}
	return want
}

// makeKey makes a private key, as a credential has it, and what verifies its signatures.
func makeKey(algorithm string) (private string, verifyBy any) {
	var key crypto.Signer
	switch kind := algorithm[:min(2, len(algorithm))]; kind {
	case "RS", "PS":
		key = rsaKey
	case "ES":
		curve := map[string]elliptic.Curve{"ES384": elliptic.P384(), "ES512": elliptic.P521()}[algorithm]
		if curve == nil {
			curve = elliptic.P256()
		}
		key, _ = ecdsa.GenerateKey(curve, rand.Reader)
	case "Ed":
		_, key, _ = ed25519.GenerateKey(rand.Reader)
	default:
		private = strings.Repeat("made-up-secret-", 5)
		return private, []byte(private)
	}
	der, _ := x509.MarshalPKCS8PrivateKey(key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), key.Public()
}

// rsaKey is made once, as it takes long.
var rsaKey, _ = rsa.GenerateKey(rand.Reader, 2048)

// tryJWT holds a token against the line.
func (t *trial) tryJWT(want *wantedJWT, token string, document []byte) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(want.algorithm)})
	if err != nil {
		t.gap("the JSON Web Token is none: %v", err)
		return
	}
	payload, err := signed.Verify(want.verifyBy)
	if err != nil {
		t.gap("the signature of the JSON Web Token is not right")
		return
	}
	encoded, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.gap("the JSON Web Token has no header")
		return
	}
	t.tryMembers(string(header), want.header, document)
	t.tryMembers(string(payload), want.claims, document)
	if lives := gjson.GetBytes(payload, "exp").Int() - gjson.GetBytes(payload, "iat").Int(); lives != want.lifetime {
		t.gap("the JSON Web Token lives for %ds", lives)
	}
}

// tryMembers holds an object's members against the line.
func (t *trial) tryMembers(object string, want map[string]string, document []byte) {
	for _, name := range sorted(want) {
		got := gjson.Get(object, gjson.Escape(name))
		if want[name] == "${random}" && len(got.String()) > 8 {
			continue
		}
		if got.String() != evaluate(want[name], document) {
			t.gap("%s of the JSON Web Token is %q", name, got)
		}
	}
}
