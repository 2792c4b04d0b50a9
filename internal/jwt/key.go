package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// Algorithms are those that JWTs can be signed with (RFC 7518 section 3.1, RFC 8037).
var Algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// The length of a key for RSA in bits: the shortest (RFC 7518 section 3.3), and the longest
// that a tenant may have signed with, which takes 6 ms.
const minRSA, maxRSA = 2048, 4096

// curveBits are the sizes of the curves (RFC 7518 section 3.4).
var curveBits = map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}

func isHMAC(algorithm string) bool { return strings.HasPrefix(algorithm, "HS") }

// key is a private key, or a secret, for one algorithm.
type key struct {
	private any
	id      string // the kid of a JWK
}

// parseKey reads a key. What is wrong with it is told as a [credential.FieldError] does.
func parseKey(text, algorithm string) (k *key, wrong string) {
	k = new(key)
	var jwk jose.JSONWebKey
	trimmed := strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(trimmed, "{") && json.Unmarshal([]byte(trimmed), &jwk) == nil:
		k.private, k.id = jwk.Key, jwk.KeyID
	case strings.Contains(trimmed, "-----BEGIN "):
		k.private, wrong = parsePEM(trimmed)
	case isHMAC(algorithm):
		k.private = []byte(text)
	default:
		k.private, wrong = parseDER([]byte(text))
	}
	if wrong == "" {
		wrong = unfit(k.private, algorithm)
	}
	return k, wrong
}

// parsePEM takes line breaks as JSON spells them, too: such keys are pasted twice encoded.
func parsePEM(text string) (private any, wrong string) {
	text = strings.NewReplacer(`\r`, "", `\n`, "\n", `\/`, "/").Replace(text)
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, "has no private key in PEM in it"
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, "is encrypted with a password"
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return parseDER(block.Bytes)
		}
	}
}

// parseDER takes PKCS #8, PKCS #1 and SEC 1.
func parseDER(der []byte) (private any, wrong string) {
	if private, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return private, ""
	}
	if private, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return private, ""
	}
	if private, err := x509.ParseECPrivateKey(der); err == nil {
		return private, ""
	}
	return nil, "is not a private key in PEM (PKCS #1, PKCS #8, SEC 1), nor a JWK"
}

// unfit says why a key does not go with an algorithm; "": it does.
func unfit(private any, algorithm string) string {
	mismatch := "is not a key for " + algorithm
	switch k := private.(type) {
	case []byte:
		if len(k) > 0 && isHMAC(algorithm) {
			return ""
		}
	case *rsa.PrivateKey:
		switch {
		case algorithm[:2] != "RS" && algorithm[:2] != "PS":
		case k.N.BitLen() < minRSA:
			return fmt.Sprintf("is shorter than %d bits", minRSA)
		case k.N.BitLen() > maxRSA:
			return fmt.Sprintf("is longer than %d bits", maxRSA)
		default:
			return ""
		}
	case *ecdsa.PrivateKey:
		if k.Curve.Params().BitSize == curveBits[algorithm] {
			return ""
		}
	case ed25519.PrivateKey:
		if algorithm == "EdDSA" {
			return ""
		}
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return "is a public key"
	}
	return mismatch
}

// maxKeyFile is the size of the largest file that is taken for a key, in bytes.
const maxKeyFile = 64 << 10

// keyFile is a file with a key, which may be replaced at any time.
type keyFile struct {
	name, algorithm string

	mu   sync.Mutex
	text []byte // as it was last
	key  *key   // of that
}

// read returns the key that is in the file now.
func (f *keyFile) read() (*key, error) {
	text, err := readFile(f.name)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.key != nil && bytes.Equal(text, f.text) {
		return f.key, nil
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	k, wrong := parseKey(line, f.algorithm)
	if wrong != "" {
		return nil, fmt.Errorf("key in %s %s", f.name, wrong)
	}
	f.text, f.key = text, k
	return k, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxKeyFile)
	}
	return text, err
}
