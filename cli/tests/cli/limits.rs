//! Rate limits, credits and usage.

use tower_api_key::{
    KeyId, RejectionKind,
    store::{self, KeyQuery},
    usage::{HourlyUsage, UsageOutcome},
};

use crate::session::Shell;

#[tokio::test]
async fn rate_limits() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ ID=$(tower-api-key create --name first --tier pro --limit minute=100/60s,burst=20 --limit day=5000/24h --json | cut -d '"' -f 4)
$ tower-api-key show $ID | sed -n 4,7p
status  active
tier  pro
limits  minute=100/1m,burst=20 day=5000/1d
created at  <time>
$ tower-api-key list --json | grep -o '"limits":.*,"credits":null'
"limits":[{"name":"minute","requests":100,"window_seconds":60,"burst":20},{"name":"day","requests":5000,"window_seconds":86400,"burst":5000}],"credits":null
$ tower-api-key update $ID --limit second=5/500ms | grep limits
limits  second=5/500ms
$ tower-api-key rotate $ID --json 2> /dev/null | grep -o '"limits":.*,"credits":null'
"limits":[{"name":"second","requests":5,"window_seconds":0.5,"burst":5}],"credits":null
$ tower-api-key update $ID --no-limits --tier '' | sed -n 4,5p
status  expired
created at  <time>
$ tower-api-key update $ID --limit a=1/1s --no-limits 2>&1 | head -n 1
error: the argument '--limit <NAME=COUNT/TIME>' cannot be used with '--no-limits'
$ tower-api-key create --name x --limit a=1/1s --limit a=2/1s
tower-api-key: --limit: two limits of a key have the same name
=> 2
$ tower-api-key create --name x --limit 100/60s 2>&1 | head -n 1
error: invalid value '100/60s' for '--limit <NAME=COUNT/TIME>': must be like minute=100/60s, or minute=100/60s,burst=20
$ tower-api-key create --name x --limit a=1/32d 2>&1 | head -n 1
error: invalid value 'a=1/32d' for '--limit <NAME=COUNT/TIME>': the window of a quota must be of whole milliseconds, and at most 31 days
$ tower-api-key list --json | wc -l
2
"#,
        );
    }
}

#[tokio::test]
async fn credits() {
    for shell in Shell::on_each().await {
        shell.session(
            r#"
$ ID=$(tower-api-key create --name first --credits 5 --json | tee made | cut -d '"' -f 4)
$ grep -o '"credits":{.*},"metadata"' made
"credits":{"remaining":5,"refill":null,"next_refill_at":null},"metadata"
$ tower-api-key show $ID | grep -E 'credits|refill'
credits  5
$ tower-api-key top-up $ID 10 | grep -E 'credits|refill'
credits  15
$ tower-api-key list --json | grep -o '"credits":{.*},"metadata"'
"credits":{"remaining":15,"refill":null,"next_refill_at":null},"metadata"
$ tower-api-key update $ID --credits 3 --refill 1000/30d | grep -E 'credits|refill'
credits  3
refill  1000/30d
next refill at  <time>
$ tower-api-key update $ID --refill 7/month --json | grep -o '"credits":{.*},"metadata"'
"credits":{"remaining":3,"refill":{"amount":7,"interval":"month"},"next_refill_at":"<time>"},"metadata"
$ tower-api-key rotate $ID --grace 1h --json | grep -o '"credits":{"remaining":3,'
"credits":{"remaining":3,
$ tower-api-key update $ID --no-credits | grep -cE 'credits|refill'
0
=> 1
$ tower-api-key top-up $ID 1
tower-api-key: the key spends no credits
=> 1
$ tower-api-key top-up $ID 0 2> /dev/null
=> 2
$ tower-api-key top-up $(echo $ID | tr 0-8 1-9) 1
tower-api-key: there is no such key
=> 1
$ tower-api-key update $ID --credits 1 --no-credits 2>&1 | head -n 1
error: the argument '--credits <COUNT>' cannot be used with '--no-credits'
$ tower-api-key create --name x --credits 9223372036854775808 2> /dev/null
=> 2
$ tower-api-key create --name x --refill 5/months 2>&1 | head -n 1
error: invalid value '5/months' for '--refill <COUNT/TIME>': must be like 1000/30d, or 1000/month
"#,
        );
    }
}

/// Other systems have a number.
#[tokio::test]
async fn imported_limits_and_credits() {
    for shell in Shell::on_each().await {
        let row = |n: u32, limits: &str, credits: &str| format!("{n:064x},{limits},{credits}\n");
        let limits = r#""[{""name"":""a"",""requests"":1,""window_seconds"":60}]""#;
        let good = [row(1, limits, "1000"), row(2, "", ""), row(3, "[]", "0")].concat();
        shell.write("good.csv", &format!("key_hash,limits,credits\n{good}"));
        let bad = [
            row(4, "1", ""),
            row(5, "minute", ""),
            row(6, "", "many"),
            row(7, "", "-1"),
            row(8, "", r#""{""remaining"":1,""of"":2}""#),
        ];
        shell.write("bad.csv", &format!("key_hash,limits,credits\n{}", bad.concat()));
        shell.session(
            r#"
$ tower-api-key import good.csv
Imported: 3
$ tower-api-key list --json | grep -o '"limits":.*,"metadata"' | sort
"limits":[],"credits":null,"metadata"
"limits":[],"credits":{"remaining":0,"refill":null,"next_refill_at":null},"metadata"
"limits":[{"name":"a","requests":1,"window_seconds":60,"burst":1}],"credits":{"remaining":1000,"refill":null,"next_refill_at":null},"metadata"
$ tower-api-key import bad.csv
line 2: limits must be a list of limits, each with name, requests and window_seconds
line 3: limits must be a list of limits, each with name, requests and window_seconds
line 4: credits must be a number, or an object with remaining and refill
line 5: credits must be a number, or an object with remaining and refill
line 6: credits must be a number, or an object with remaining and refill
tower-api-key: nothing was imported: 5 of the rows are invalid; --skip-invalid leaves them out
=> 2
"#,
        );
    }
}

#[tokio::test]
async fn usage_of_a_key() {
    for shell in Shell::on_each().await {
        shell.session(
            r"
$ tower-api-key create --name first --owner user-1 2> /dev/null
<key-1>
",
        );
        let repository = store::connect(&shell.url).await.unwrap();
        let page = repository.list(&KeyQuery::new(1)).await.unwrap();
        let lineage: KeyId = page.items[0].id;
        let limited = UsageOutcome::Denied(RejectionKind::RateLimited);
        let usage = [
            ("2040-01-01T09:00:00.000Z", UsageOutcome::Accepted, 3),
            ("2040-01-01T11:00:00.000Z", UsageOutcome::Accepted, 4),
            ("2040-01-01T11:00:00.000Z", limited, 1),
            ("2040-01-31T23:00:00.000Z", UsageOutcome::Accepted, 5),
        ]
        .map(|(hour, outcome, count)| {
            HourlyUsage::new(lineage, hour.parse().unwrap(), outcome, count)
                .with_owner(Some("user-1".into()))
        });
        repository.usage_log().unwrap().record_usage(&usage).await.unwrap();
        repository.close().await;
        shell.session(
            r#"
$ ID=$(tower-api-key list --json | cut -d '"' -f 4)
$ tower-api-key usage $ID
There were no requests.
$ tower-api-key usage $ID --until 2040-02-01
FROM  OUTCOME  REQUESTS
2040-01-31T00:00:00.000Z  accepted  5
$ tower-api-key usage $ID --since 2040-01-01T11:30:00Z --until 2040-02-01
FROM  OUTCOME  REQUESTS
2040-01-01T00:00:00.000Z  accepted  7
2040-01-01T00:00:00.000Z  rate_limited  1
2040-01-31T00:00:00.000Z  accepted  5
$ tower-api-key usage $ID --since 2040-01-01T11:30:00Z --until 2040-01-02 --by hour --json
{"at":"2040-01-01T11:00:00.000Z","outcome":"accepted","count":4}
{"at":"2040-01-01T11:00:00.000Z","outcome":"rate_limited","count":1}
$ tower-api-key rotate $ID > /dev/null 2>&1
$ NEW=$(tower-api-key list --limit 1 --json | cut -d '"' -f 4)
$ tower-api-key usage $NEW --until 2040-02-01T00:00:00Z --by hour
FROM  OUTCOME  REQUESTS
2040-01-31T23:00:00.000Z  accepted  5
$ tower-api-key usage --by hour 2> /dev/null
=> 2
$ tower-api-key usage $ID --by week 2> /dev/null
=> 2
$ tower-api-key usage $(echo $ID | tr 0-8 1-9)
tower-api-key: there is no such key
=> 1
"#,
        );
    }
}
