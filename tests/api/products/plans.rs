//! What a page costs in a big catalogue, whatever is filtered by and however it is sorted, also
//! where the filter and the order have nothing to do with each other.

use mainstay::{
    domain::{
        audit::Origin,
        categories::CategoryPath,
        page::PageRequest,
        products::{ProductAfter, ProductFilter, Sort, SortKey},
    },
    repos::products::page_query,
};
use serde_json::Value;
use sqlx::ConnectOptions;

use super::TestApp;

const PRODUCTS: u64 = 200_000;
const MOST_BUFFERS: i64 = 5_000;

/// Products beside the samples that stand together at one end of an order, or sell out together.
const SKEWED: [&str; 2] = [
    "insert into categories (id, path, parent_id)
     select ('018f0000-0000-7000-8000-00000000000' || number)::uuid, path,
            ('018f0000-0000-7000-8000-00000000000' || above)::uuid
     from (values (0, 'skewed', null), (1, 'skewed/newest', 0), (2, 'skewed/oldest', 0),
                  (3, 'skewed/dearest', 0), (4, 'skewed/last', 0)) as it(number, path, above)",
    "insert into products (id, sku, name, category_id, price, currency, stock, created_at)
     select gen_random_uuid(), kind || '-' || number,
            case kind when 4 then 'zzzz ' else 'Middle ' end || kind || '-' || number,
            ('018f0000-0000-7000-8000-00000000000' || kind)::uuid,
            case kind when 3 then 900000000 else 7000000 end + number, 'EUR', number % 2,
            case kind when 1 then timestamptz '2040-01-01' when 2 then '2001-01-01'
                      else '2025-01-01' end + number * interval '1 second'
     from generate_series(1, 4) kind, generate_series(1, 500) number",
];

async fn big() -> TestApp {
    let app = TestApp::new().await;
    let seeded = app.app.services.products.seed(PRODUCTS, &Origin::command_line()).await;
    assert_eq!(seeded.unwrap(), PRODUCTS);
    for statement in SKEWED {
        app.execute(statement).await;
    }
    tidy(&app).await;
    app
}

/// As the owner of the tables: to anybody else Postgres says that it skips them, and succeeds.
async fn tidy(app: &TestApp) {
    let mut owner = app.pool.connect_options().connect().await.unwrap();
    for statement in ["set role none", "vacuum (analyze) products", "analyze categories"] {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
    }
    let seen = "select relallvisible > relpages * 0.9 from pg_class where relname = 'products'";
    assert!(sqlx::query_scalar::<_, bool>(seen).fetch_one(&mut owner).await.unwrap());
}

fn filters() -> Vec<ProductFilter> {
    let none = ProductFilter::default;
    let category = |path| ProductFilter { category: CategoryPath::parse(path).ok(), ..none() };
    let prices = |min, max| ProductFilter { min_price: min, max_price: max, ..none() };
    let q = |q: &str| ProductFilter { q: Some(q.to_owned()), ..none() };
    let mut all = vec![
        none(),
        ProductFilter { in_stock: Some(true), ..none() },
        ProductFilter { in_stock: Some(false), ..none() },
        prices(Some(7_000_000), Some(7_000_500)),
        prices(Some(900_000_000), None),
        prices(Some(50_000), Some(60_000)),
        prices(Some(1_000), Some(400_000)),
        prices(None, Some(50_000)),
        prices(Some(50), Some(50)),
        q("chair"),
        q("the"),
        q("kitchn"),
        q("Nakamura kuchenmeser"),
    ];
    let paths = ["home", "home/everyday", "music/gifts/accessories", "nowhere", "skewed"];
    let ends = ["skewed/newest", "skewed/oldest", "skewed/dearest", "skewed/last"];
    all.extend(paths.into_iter().chain(ends).map(category));
    all
}

/// In the middle of the catalogue.
async fn far(app: &TestApp, sort: Sort) -> ProductAfter {
    let middle =
        "select created_at, price, name, id from products order by id offset 100000 limit 1";
    let (at, price, name, id) = sqlx::query_as(middle).fetch_one(&app.pool).await.unwrap();
    let key = match sort {
        Sort::Newest => SortKey::Newest(at),
        Sort::Price | Sort::PriceDescending => SortKey::Price(price),
        Sort::Name => SortKey::Name(name),
        Sort::Relevance => SortKey::Relevance(1),
    };
    ProductAfter { key, id }
}

async fn buffers(
    app: &TestApp,
    filter: &ProductFilter,
    sort: Sort,
    after: Option<ProductAfter>,
) -> i64 {
    let page = PageRequest { limit: 20, after, count: false };
    let mut query = page_query("explain (analyze, buffers, format json) ", filter, sort, &page);
    let plan: Value = query.build_query_scalar().fetch_one(&app.pool).await.unwrap();
    let number = |name: &str| plan[0]["Plan"][name].as_i64().unwrap();
    number("Shared Hit Blocks") + number("Shared Read Blocks")
}

#[tokio::test]
async fn each_filter_with_each_order_reads_few_pages_of_a_big_catalogue() {
    let app = big().await;
    let (mut worst, mut too_many) = ((0, String::new()), Vec::new());
    for filter in filters() {
        let relevance = filter.q.as_ref().map(|_| Sort::Relevance);
        let sorts = [Sort::Newest, Sort::Price, Sort::PriceDescending, Sort::Name];
        for sort in sorts.into_iter().chain(relevance) {
            for after in [None, Some(far(&app, sort).await)] {
                let case = format!(
                    "{filter:?} by {sort:?}, {}",
                    if after.is_some() { "far" } else { "first" }
                );
                let read = buffers(&app, &filter, sort, after).await;
                if read > MOST_BUFFERS {
                    too_many.push(format!("{read}: {case}"));
                }
                worst = worst.max((read, case));
            }
        }
    }
    println!("at most {} pages: {}", worst.0, worst.1);
    assert!(too_many.is_empty(), "{too_many:#?}");
}
