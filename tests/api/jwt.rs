//! Access tokens that must not pass (RFC 8725), each built by hand.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mainstay::shared::crypto::Keyed;
use serde_json::{Value, json};

use super::support::TestApp;

struct Forge {
    app: TestApp,
    good: String,
    header: Value,
    claims: Value,
    /// The service's own key: what it signs is refused for another reason than its signature.
    key: EncodingKey,
    public: Vec<u8>,
}

async fn forge() -> Forge {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let part = |n| -> Value {
        serde_json::from_slice(&B64.decode(ada.access.split('.').nth(n).unwrap()).unwrap()).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    let (sealed, public): (Vec<u8>, Vec<u8>) = sqlx::query_as(
        "select private_key, public_key from signing_keys where activates_at is not null",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    let seal = Keyed::derive(app.app.config.auth.master_key.bytes(), "signing-keys");
    let pkcs8 = seal.open(header["kid"].as_str().unwrap().as_bytes(), &sealed).unwrap();
    Forge { app, good: ada.access, header, claims, key: EncodingKey::from_ed_der(&pkcs8), public }
}

fn encode(value: &Value) -> String {
    B64.encode(value.to_string())
}

impl Forge {
    /// Signed with the service's own key over exactly this text.
    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{header}.{claims}");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    }

    fn with_header(&self, change: &[(&str, Value)]) -> String {
        self.sign(&encode(&merged(&self.header, change)), &encode(&self.claims))
    }

    fn with_claims(&self, change: &[(&str, Value)]) -> String {
        self.sign(&encode(&self.header), &encode(&merged(&self.claims, change)))
    }

    async fn assert_refused(&self, what: &str, token: &str) {
        let answer = self.app.get("/api/v1/users/me").bearer(token).send().await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 401, "{what}: {body}");
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
            "{what}: {challenge}"
        );
    }
}

/// Null removes a member.
fn merged(base: &Value, change: &[(&str, Value)]) -> Value {
    let mut all = base.as_object().unwrap().clone();
    for (name, value) in change {
        match value {
            Value::Null => all.remove(*name),
            value => all.insert((*name).to_owned(), value.clone()),
        };
    }
    all.into()
}

#[tokio::test]
async fn a_token_signed_again_with_the_same_members_passes() {
    let forge = forge().await;
    let same = forge.with_claims(&[]);
    assert!(forge.app.accepts(&same).await);
    assert!(forge.app.accepts(&forge.good).await);
}

#[tokio::test]
async fn tokens_with_another_header_are_refused() {
    let forge = forge().await;
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode([7; 32])});
    let vectors = [
        ("alg none", vec![("alg", json!("none"))]),
        ("alg None", vec![("alg", json!("None"))]),
        ("alg nOnE", vec![("alg", json!("nOnE"))]),
        ("alg HS256", vec![("alg", json!("HS256"))]),
        ("alg RS256", vec![("alg", json!("RS256"))]),
        ("alg ES256", vec![("alg", json!("ES256"))]),
        ("alg empty", vec![("alg", json!(""))]),
        ("alg a number", vec![("alg", json!(1))]),
        ("no alg", vec![("alg", Value::Null)]),
        ("typ JWT", vec![("typ", json!("JWT"))]),
        ("typ id token", vec![("typ", json!("id_token+jwt"))]),
        ("typ refresh", vec![("typ", json!("rt+jwt"))]),
        ("no typ", vec![("typ", Value::Null)]),
        ("no kid", vec![("kid", Value::Null)]),
        ("kid unknown", vec![("kid", json!("AAAAAAAAAAAAAAAA"))]),
        ("kid a path", vec![("kid", json!("../../../../dev/null"))]),
        ("kid SQL", vec![("kid", json!("' or 1=1 --"))]),
        ("kid empty", vec![("kid", json!(""))]),
        ("kid a list", vec![("kid", json!(["a"]))]),
        ("jku", vec![("jku", json!("https://evil.example/jwks.json"))]),
        ("x5u", vec![("x5u", json!("https://evil.example/cert.pem"))]),
        ("jwk", vec![("jwk", jwk)]),
        ("x5c", vec![("x5c", json!(["MIIB"]))]),
        ("crit", vec![("crit", json!(["exp"]))]),
        ("b64 false", vec![("b64", json!(false)), ("crit", json!(["b64"]))]),
        ("zip", vec![("zip", json!("DEF"))]),
        ("JWE", vec![("alg", json!("dir")), ("enc", json!("A256GCM"))]),
    ];
    for (what, change) in vectors {
        forge.assert_refused(what, &forge.with_header(&change)).await;
    }
}

#[tokio::test]
async fn tokens_with_other_claims_are_refused() {
    let forge = forge().await;
    let now = forge.claims["iat"].as_i64().unwrap();
    let vectors = [
        ("no exp", vec![("exp", Value::Null)]),
        ("exp a string", vec![("exp", json!("2099"))]),
        ("expired", vec![("exp", json!(now - 61)), ("iat", json!(now - 700))]),
        ("issued in the future", vec![("iat", json!(now + 3600)), ("exp", json!(now + 4200))]),
        ("nbf in the future", vec![("nbf", json!(now + 3600))]),
        ("wrong iss", vec![("iss", json!("evil"))]),
        ("no iss", vec![("iss", Value::Null)]),
        ("wrong aud", vec![("aud", json!("other-api"))]),
        ("aud a list", vec![("aud", json!(["mainstay-api", "other"]))]),
        ("no aud", vec![("aud", Value::Null)]),
        ("no sub", vec![("sub", Value::Null)]),
        ("sub no id", vec![("sub", json!("1 or 1=1"))]),
        ("no sid", vec![("sid", Value::Null)]),
        ("no ver", vec![("ver", Value::Null)]),
        ("unknown role", vec![("role", json!("root"))]),
        ("an unknown claim", vec![("admin", json!(true))]),
    ];
    for (what, change) in vectors {
        forge.assert_refused(what, &forge.with_claims(&change)).await;
    }
}

#[tokio::test]
async fn tokens_of_another_form_or_signature_are_refused() {
    let forge = forge().await;
    let (header, claims) = (encode(&forge.header), encode(&forge.claims));
    let parts: Vec<_> = forge.good.split('.').collect();
    let bent = |n: usize| {
        let mut text = forge.good.clone().into_bytes();
        let at = text.len() - n;
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).unwrap()
    };
    let hs256 = Header {
        typ: Some("at+jwt".into()),
        kid: forge.header["kid"].as_str().map(Into::into),
        ..Header::new(Algorithm::HS256)
    };
    let with_public_key =
        jsonwebtoken::encode(&hs256, &forge.claims, &EncodingKey::from_secret(&forge.public))
            .unwrap();
    let doubled = forge.claims.to_string().replacen('{', "{\"role\":\"admin\",", 1);
    let doubled_alg = forge.header.to_string().replacen('{', "{\"alg\":\"none\",", 1);
    let foreign = {
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8v1(
            &aws_lc_rs::rand::SystemRandom::new(),
        )
        .unwrap();
        let message = format!("{header}.{claims}");
        let key = EncodingKey::from_ed_der(pair.as_ref());
        format!(
            "{message}.{}",
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).unwrap()
        )
    };
    let vectors = [
        ("HS256 with the public key", with_public_key),
        ("another key under our kid", foreign),
        ("a claim twice", forge.sign(&header, &B64.encode(doubled))),
        ("alg twice", forge.sign(&B64.encode(doubled_alg), &claims)),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{}.x", forge.good)),
        ("a zero signature", format!("{header}.{claims}.{}", B64.encode([0; 64]))),
        ("a short signature", format!("{header}.{claims}.{}", B64.encode([0; 63]))),
        ("a bent signature", bent(5)),
        ("a bent ending", bent(1)),
        (
            "bent claims",
            format!(
                "{}.{}.{}",
                parts[0],
                encode(&merged(&forge.claims, &[("role", json!("admin"))])),
                parts[2]
            ),
        ),
        ("padding", format!("{}.{}.{}==", parts[0], parts[1], parts[2])),
        ("padded header", forge.sign(&format!("{header}="), &claims)),
        ("standard base64", forge.good.replace('-', "+").replace('_', "/") + "/"),
        ("white space", format!("{} {}", parts[0], parts[1])),
        ("JSON claims", forge.sign(&header, &forge.claims.to_string())),
        ("twelve kilobytes", forge.with_claims(&[("jti", json!("x".repeat(8_500)))])),
        ("empty", String::new()),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("five parts", "a.b.c.d.e".to_owned()),
    ];
    for (what, token) in &vectors {
        forge.assert_refused(what, token).await;
    }
    assert!(forge.app.accepts(&forge.good).await);
}

#[tokio::test]
async fn the_scheme_must_be_bearer_and_the_header_alone() {
    let forge = forge().await;
    let me = || forge.app.get("/api/v1/users/me");
    me().header("authorization", format!("bearer {}", forge.good)).send().await.expect(200);
    for value in [format!("Basic {}", forge.good), forge.good.clone(), "Bearer".to_owned()] {
        me().header("authorization", value).send().await.expect(401);
    }
    me().bearer(&forge.good).bearer(&forge.good).send().await.expect(401);
    forge
        .app
        .get(&format!("/api/v1/users/me?access_token={}", forge.good))
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn an_expired_token_says_so_also_when_it_was_seen_before() {
    let forge = forge().await;
    assert!(forge.app.accepts(&forge.good).await);
    let clock = &forge.app.app.clock;
    clock.advance(chrono::TimeDelta::seconds(600 + 29));
    assert!(forge.app.accepts(&forge.good).await, "within the leeway");
    clock.advance(chrono::TimeDelta::seconds(3));
    let answer = forge.app.get("/api/v1/ping").bearer(&forge.good).send().await;
    let answer = answer.expect_problem(401, "TOKEN_EXPIRED");
    assert!(answer.header("www-authenticate").contains("invalid_token"));
}
